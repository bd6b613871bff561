use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::process::until;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "all packets are dropped while a confirmation is awaited",
    expected: "22 at the deadline, and so recorded",
    on: Kind::Mixed,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&[]);
    let client = bench.start("test");
    client.await_text("over a new connection", LIMIT);
    let host = &bench.host;
    // The old system's own activation brings the interface up again.
    host.root("ip link set lo down; ! timeout 1 bash -c ': </dev/tcp/127.0.0.1/22' 2>/dev/null");
    until("the trial ends", LIMIT, || bench.is_idle());
    host.root("ip link set lo up");
    let verdict = bench.ends(&before, "reverted");
    assert!(verdict.ends_with("22"), "{verdict}");
    drop(client.kill());
    format!("no connection; {verdict}")
}

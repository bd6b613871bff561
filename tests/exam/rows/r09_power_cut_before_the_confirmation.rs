use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "power cut between activation and confirmation",
    expected: "boots the old system, and says so",
    on: Kind::Confirm,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&[]);
    let client = bench.start("switch");
    client.await_text("over a new connection", LIMIT);
    assert_ne!(bench.host.triple().running, before.triple.running);
    bench.host.power_cut();
    drop(client.kill());
    bench.host.start();
    let verdict = bench.ends(&before, "reverted");
    let attached = bench.host.ssh(&["attach"]);
    assert!(attached.stdout.contains("reverted by a restart of the host"), "{attached:#?}");
    format!("process 1 gone; {verdict}, by a restart of the host")
}

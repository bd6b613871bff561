use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "a candidate whose mount fails: emergency mode",
    expected: "a restart into the old system",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&["failing-mount"]);
    let client = bench.start("switch");
    bench.host.await_boot(before.boot + 1);
    drop(client.kill());
    let verdict = bench.ends(&before, "reverted");
    assert_eq!(bench.host.triple(), before.triple);
    format!("restarted by itself; {verdict}")
}

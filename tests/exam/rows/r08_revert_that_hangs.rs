use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "the old system's own switch hangs during the revert",
    expected: "the second deadline, and a restart into the old system",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    bench.host.config_edit_only("revert = \"20s\"", "revert = \"4s\"");
    bench.host.root("/root/fixture/system/configure ''");
    let before = bench.facts();
    bench.commit(&["service-fails", "hang-on-revert"]);
    let client = bench.start("switch");
    bench.host.await_boot(before.boot + 1);
    drop(client.kill());
    let verdict = bench.ends(&before, "reverted");
    assert_eq!(bench.host.triple(), before.triple);
    format!("restarted by itself; {verdict}")
}

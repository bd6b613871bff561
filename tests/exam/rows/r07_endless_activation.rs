use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "an activation that never ends and ignores SIGTERM",
    expected: "its deadline, a revert, a free lock",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    bench.host.config_edit_only("activation = \"20s\"", "activation = \"4s\"");
    bench.host.root("/root/fixture/system/configure ''");
    let before = bench.facts();
    bench.commit(&["hang"]);
    let answer = bench.host.ssh(&["switch"]).expect(20);
    assert!(answer.stderr.contains("did not end within its limit"), "{answer:#?}");
    let verdict = bench.ends(&before, "reverted");
    bench.deploy();
    format!("stopped at its limit; {verdict}; the next deploy works")
}

use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "sudo-rs in the place of sudo",
    expected: "the same rules match: reverted, committed, rolled back",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    bench.host.use_sudo_rs();
    let before = bench.facts();
    bench.commit(&["service-fails"]);
    bench.host.ssh(&["switch"]).expect(21);
    let verdict = bench.ends(&before, "reverted");
    bench.deploy();
    bench.host.ssh(&["rollback"]).expect(0);
    assert_eq!(bench.host.triple().running, before.triple.running);
    format!("{verdict}; committed; back")
}

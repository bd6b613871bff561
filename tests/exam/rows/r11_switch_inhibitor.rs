use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "a switch inhibitor differs",
    expected: "14 with the difference; no pointer moved",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&["inhibitor"]);
    let answer = bench.host.ssh(&["switch"]).expect(14);
    assert!(answer.stderr.contains("dbus-implementation") && answer.stderr.contains("boot"), "{answer:#?}");
    format!("dbus-implementation; {}", bench.ends(&before, "refused"))
}

use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "logind is broken: 11 after the activation",
    expected: "20, the old system runs again",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&["exit-11-late"]);
    bench.host.ssh(&["switch"]).expect(20);
    bench.ends(&before, "reverted")
}

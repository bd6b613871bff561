use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "the candidate brings another nixgate",
    expected: "the job lives through its own upgrade",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&["nixgate-next"]);
    bench.host.ssh(&["switch"]).expect(0);
    let verdict = bench.ends(&before, "committed");
    bench.deploy();
    format!("{verdict}; the next deploy works")
}

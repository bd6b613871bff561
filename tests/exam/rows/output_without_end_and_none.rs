use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "an activation that prints 100 MB, and one whose output is closed",
    expected: "both are deployed",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    for fault in ["flood", "close-output"] {
        bench.commit(&[fault]);
        bench.host.ssh(&["switch"]).expect(0);
    }
    bench.verdict(&before);
    "committed, committed".to_owned()
}

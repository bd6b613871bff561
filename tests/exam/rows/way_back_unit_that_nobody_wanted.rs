use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "a unit that ran without being wanted, and that the candidate removes",
    expected: "reverted; it is named",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    bench.host.root("systemctl start plain@x.service");
    let before = bench.facts();
    bench.commit(&["no-templates", "health-bad"]);
    let answer = bench.host.ssh(&["switch"]).expect(21);
    assert!(answer.stderr.contains("plain@x.service"), "{answer:#?}");
    format!("plain@x.service is named; {}", bench.ends(&before, "reverted"))
}

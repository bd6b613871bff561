use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "a candidate that stops sshd",
    expected: "21; the caller is told",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&["kill-sshd"]);
    bench.host.ssh(&["switch"]).expect(21);
    bench.ends(&before, "reverted")
}

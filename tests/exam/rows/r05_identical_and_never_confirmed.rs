use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "the identical system again, never confirmed",
    expected: "unchanged; nothing is deleted",
    on: Kind::Confirm,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    bench.deploy();
    let before = bench.facts();
    let count = "ls -d /nix/var/nix/profiles/system-*-link";
    let links = bench.host.root(count);
    let answer = bench.host.ssh(&["switch"]).expect(0);
    assert_eq!(answer.value("result"), "unchanged");
    assert_eq!((bench.facts().triple, bench.host.root(count)), (before.triple, links));
    "unchanged; the same generations".to_owned()
}

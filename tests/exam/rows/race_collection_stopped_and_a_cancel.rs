use crate::bench::{Bench, Kind};
use crate::collector;
use crate::host::LIMIT;
use crate::process::{Inside, until};
use crate::table::Written;
use crate::trap::{Moment, Trap};

pub const ROW: Written = Written {
    injected: "a cancel while a profile waits for a garbage collection that stands still",
    expected: "23, and nobody is left that would set it later",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&[]);
    let trap = Trap::set(&bench.host, Moment::Sudo("built", "nix"));
    let client = bench.start("switch");
    let setter = trap.caught();
    collector::stands_still(&bench.host);
    trap.release();
    until("nix-env runs", LIMIT, || Inside::comm(setter) == "nix-env");
    bench.host.ssh(&["cancel"]).expect(0);
    client.wait().expect(23);
    assert!(Inside::read(setter).is_none(), "nix-env is still there");
    let collected = collector::goes_on(&bench.host);
    let verdict = bench.ends(&before, "cancelled");
    bench.deploy();
    format!("{verdict}; {collected}; the next deploy works")
}

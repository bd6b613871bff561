use crate::bench::{Bench, Kind};
use crate::collector;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "a garbage collection that holds Nix's lock from before a deploy until after it",
    expected: "neither waits for the other; nothing that the deploy needs is taken",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    collector::at_work(&bench.host);
    bench.deploy();
    let verdict = bench.ends(&before, "committed");
    let collected = collector::goes_on(&bench.host);
    let (old, new) = (before.triple.running, bench.facts().triple.running);
    bench.host.root(&format!("nix-store --query --requisites {old} {new} | xargs nix-store --check-validity"));
    format!("{verdict}; {collected}")
}

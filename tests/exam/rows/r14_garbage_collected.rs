use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::table::Written;
use crate::trap::{Moment, Trap};

pub const ROW: Written = Written {
    injected: "nix-collect-garbage -d during the build and while a confirmation is awaited",
    expected: "both closures survive",
    on: Kind::Confirm,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&[]);
    let trap = Trap::set(&bench.host, Moment::Build("verified"));
    let client = bench.start("switch");
    let builder = trap.caught();
    let first = bench.host.root("nix-collect-garbage -d 2>&1 | tail -n 1");
    trap.release();
    client.await_text("over a new connection", LIMIT);
    let second = bench.host.root("nix-collect-garbage -d 2>&1 | tail -n 1");
    let trial = bench.host.triple().running;
    bench.host.root(&format!("nix-store --query --requisites {trial} {} | xargs nix-store --check-validity", before.triple.running));
    bench.host.ssh(&["confirm"]).expect(0);
    client.wait().expect(0);
    let verdict = bench.ends(&before, "committed");
    format!("before builder {builder} began: {first}; then: {second}; {verdict}")
}

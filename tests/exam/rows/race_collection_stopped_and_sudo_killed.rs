use crate::bench::{Bench, Kind};
use crate::collector;
use crate::host::LIMIT;
use crate::process::{Inside, kill_and_see, until};
use crate::table::Written;
use crate::trap::{Moment, Trap};

pub const ROW: Written = Written {
    injected: "while the profile waits for a garbage collection that stands still, kill -9 of the sudo that was to set it",
    expected: "the job judges nothing before what sudo left behind has ended: the profile is not set behind its back",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&[]);
    let trap = Trap::set(&bench.host, Moment::Sudo("committing", "nix"));
    let client = bench.start("switch");
    let setter = trap.caught();
    collector::stands_still(&bench.host);
    trap.release();
    until("nix-env runs", LIMIT, || Inside::comm(setter) == "nix-env");
    let killed = kill_and_see(Inside::ancestor(setter, "sudo").expect("sudo").pid);
    client.await_text("waiting for that", LIMIT);
    let collected = collector::goes_on(&bench.host);
    client.wait().expect(0);
    format!("{killed}; {collected}; {}", bench.ends(&before, "committed"))
}

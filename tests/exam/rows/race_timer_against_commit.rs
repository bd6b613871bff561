use crate::bench::{Bench, Kind};
use crate::rows::fire;
use crate::table::Written;
use crate::trap::{Moment, Trap};

pub const ROW: Written = Written {
    injected: "the timer fires between set and commit",
    expected: "the revert wins: 24",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&[]);
    let trap = Trap::set(&bench.host, Moment::SystemdRun("committing"));
    let client = bench.start("switch");
    trap.caught();
    let fired = fire(bench);
    trap.release();
    client.wait().expect(24);
    format!("{fired}; {}", bench.ends(&before, "reverted"))
}

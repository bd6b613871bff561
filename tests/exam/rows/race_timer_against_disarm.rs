use crate::bench::{Bench, Kind};
use crate::rows::fire;
use crate::table::Written;
use crate::trap::{Moment, Trap};

pub const ROW: Written = Written {
    injected: "the timer fires before a `test` disarms it",
    expected: "the revert wins",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&[]);
    let trap = Trap::set(&bench.host, Moment::SystemdRun("confirmed"));
    let client = bench.start("test");
    trap.caught();
    let fired = fire(bench);
    trap.release();
    client.wait().expect(24);
    format!("{fired}; {}", bench.ends(&before, "reverted"))
}

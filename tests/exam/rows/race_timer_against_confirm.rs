use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::rows::fire;
use crate::table::Written;
use crate::trap::{Moment, Trap};

pub const ROW: Written = Written {
    injected: "the timer fires at the moment of a confirmation",
    expected: "the revert wins: nothing is kept",
    on: Kind::Confirm,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&[]);
    let trap = Trap::set(&bench.host, Moment::Announced("confirmed"));
    let client = bench.start("switch");
    client.await_text("over a new connection", LIMIT);
    bench.host.ssh(&["confirm"]).expect(0);
    trap.caught();
    let fired = fire(bench);
    trap.release();
    client.wait().expect(24);
    format!("confirmed; {fired}; {}", bench.ends(&before, "reverted"))
}

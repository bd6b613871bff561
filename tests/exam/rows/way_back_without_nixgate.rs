use crate::bench::{Bench, Kind};
use crate::rows::timer_alone;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "a candidate without nixgate, its accounts and rules",
    expected: "the timer alone reverts",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    timer_alone(bench, "no-nixgate")
}

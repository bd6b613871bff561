use crate::bench::{Bench, Kind};
use crate::rows::timer_alone;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "a candidate that breaks every sudo rule",
    expected: "the timer alone reverts",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    timer_alone(bench, "break-sudoers")
}

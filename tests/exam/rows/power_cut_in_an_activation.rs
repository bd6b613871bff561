use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "power cut while the activation runs",
    expected: "boots the old system, and says so",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    let client = bench.in_activation(&[]);
    bench.host.power_cut();
    drop(client.kill());
    bench.host.start();
    format!("process 1 gone; {}", bench.ends(&before, "reverted"))
}

use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "power cut while the boot loader is installed",
    expected: "finished or undone, never neither",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&["boot-slow"]);
    let client = bench.start("switch");
    client.await_text("root: Commit", LIMIT);
    bench.host.power_cut();
    drop(client.kill());
    bench.host.start();
    // The entry was not written yet, so the old system boots; the profile had moved.
    let verdict = bench.ends(&before, "reverted");
    bench.deploy();
    format!("process 1 gone; {verdict}; the next deploy works")
}

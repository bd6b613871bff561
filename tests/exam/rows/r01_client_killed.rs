use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "kill -9 of the ssh client while the activation runs",
    expected: "it completes; log and verdict can be had later",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    let client = bench.in_activation(&[]);
    let killed = client.kill();
    assert_eq!(killed.code, -1, "killed by a signal");
    bench.host.go();
    let verdict = bench.ends(&before, "committed");
    let attached = bench.host.ssh(&["attach"]).expect(0);
    assert!(attached.stdout.starts_with(&killed.stderr), "{killed:#?}\n{attached:#?}");
    format!("client gone; {verdict}; the whole log")
}

use crate::bench::{Bench, Kind};
use crate::process::kill_all;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "kill -9 of the job while the activation runs",
    expected: "reverted; the next deploy works",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    let client = bench.in_activation(&[]);
    let job = kill_all(&bench.host, &["nixgate-job"]);
    client.wait().expect(70);
    let verdict = bench.ends(&before, "reverted");
    bench.deploy();
    format!("{job}; {verdict}")
}

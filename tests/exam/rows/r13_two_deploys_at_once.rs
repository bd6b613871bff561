use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "a second deploy while one runs",
    expected: "75: by whom, which job, since when",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    let client = bench.in_activation(&[]);
    let answer = bench.host.ssh_as("other", &["switch"]).expect(75);
    assert!(answer.stderr.contains("state trial for ") && answer.stderr.contains("running for "), "{answer:#?}");
    assert!(answer.stderr.contains("(switch by SHA256:"), "{answer:#?}");
    bench.host.go();
    client.wait().expect(0);
    format!("75 with holder and age; the first: {}", bench.ends(&before, "committed"))
}

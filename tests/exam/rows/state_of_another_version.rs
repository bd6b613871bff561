use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "a state.json of a version that is not known",
    expected: "74; status says so, and nothing is guessed",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    bench.deploy();
    bench.host.root("sed -i 's/\"v\": 1/\"v\": 2/' /var/lib/nixgate/state.json");
    let answer = bench.host.ssh(&["switch"]).expect(74);
    assert!(answer.stderr.contains("version 2"), "{answer:#?}");
    let status = bench.host.ssh(&["status"]).expect(0);
    assert!(status.stdout.contains(&bench.host.triple().running) && status.stdout.contains("version 2"), "{status:#?}");
    "74, version 2; status answers".to_owned()
}

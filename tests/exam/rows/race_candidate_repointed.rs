use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "roots/candidate is repointed between trial and commit",
    expected: "what was tried is what is committed",
    on: Kind::Confirm,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&[]);
    let client = bench.start("switch");
    client.await_text("over a new connection", LIMIT);
    let tried = bench.host.triple().running;
    bench.host.root(&format!("ln -sfn {} /var/lib/nixgate/roots/candidate", before.triple.running));
    bench.host.ssh(&["confirm"]).expect(0);
    client.wait().expect(0);
    let verdict = bench.ends(&before, "committed");
    assert_eq!(bench.facts().profile, tried);
    format!("repointed; {verdict}: what was tried")
}

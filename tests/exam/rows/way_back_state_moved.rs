use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::process::until;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "a candidate that moves /var/lib/nixgate away",
    expected: "reverted, and recorded once it is back",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&["move-state"]);
    let client = bench.start("switch");
    bench.host.await_root("test -d /var/lib/nixgate-moved", LIMIT);
    bench.host.await_root(&format!("test -d /var/lib/nixgate/jobs && [ $(readlink -f /run/current-system) = {} ]", before.triple.running), LIMIT);
    drop(client.kill());
    bench.host.await_root("! systemctl is-active --quiet 'nixgate-job@*' nixgate-revert.timer", LIMIT);
    bench.host.root("systemctl start nixgate-recover.service");
    until("no job is in progress", LIMIT, || bench.is_idle());
    assert_eq!(bench.facts().triple, before.triple);
    // Its end may be written by the job and by recovery, each for one of the two directories: 20 and 21 both say "reverted".
    bench.host.root("nixgatectl audit verify");
    bench.deploy();
    "moved; the old system runs; the next deploy works".to_owned()
}

use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
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
    let verdict = bench.ends(&before, "reverted");
    bench.deploy();
    format!("moved; {verdict}; the next deploy works")
}

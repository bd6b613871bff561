use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::process::kill_all;
use crate::rows::{with_recovery_again, without_recovery};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "job killed in a trial that stopped sshd; no recovery runs",
    expected: "the timer alone reverts",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    without_recovery(bench);
    bench.commit(&["kill-sshd", "wait"]);
    let client = bench.start("switch");
    client.await_text("activating the configuration", LIMIT);
    let job = kill_all(&bench.host, &["nixgate-job"]);
    bench.host.go();
    bench.host.await_root("! systemctl is-active --quiet ssh.service", LIMIT);
    bench.host.await_root(&format!("[ $(readlink -f /run/current-system) = {} ] && systemctl is-active --quiet ssh.service", before.triple.running), LIMIT);
    drop(client.kill());
    with_recovery_again(bench);
    format!("{job}; sshd stopped and back; {}", bench.ends(&before, "reverted"))
}

use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::process::kill_all;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "job killed in a trial that stopped sshd; no recovery runs",
    expected: "the timer alone reverts",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.host.root("systemctl mask --runtime nixgate-recover.service");
    bench.commit(&["kill-sshd", "wait"]);
    let client = bench.start("switch");
    client.await_text("activating the configuration", LIMIT);
    let job = kill_all(&bench.host, &["nixgate-job"]);
    bench.host.go();
    bench.host.await_root("! systemctl is-active --quiet ssh.service", LIMIT);
    bench.host.await_root(&format!("[ $(readlink -f /run/current-system) = {} ] && systemctl is-active --quiet ssh.service", before.triple.running), LIMIT);
    drop(client.kill());
    bench.host.root("systemctl unmask --runtime nixgate-recover.service && systemctl start nixgate-recover.service");
    format!("{job}; sshd stopped and back; {}", bench.ends(&before, "reverted"))
}

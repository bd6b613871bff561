use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::process::kill_all;
use crate::rows::{with_recovery_again, without_recovery};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "the timer fires while somebody else holds the activation's lock",
    expected: "it tries again until it has it",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    without_recovery(bench);
    let client = bench.in_activation(&[]);
    // It waits for the lock, which the activation still has, and is next.
    bench.host.root("systemd-run --quiet --collect --unit=hold flock /run/nixos/switch-to-configuration.lock sleep 600");
    let job = kill_all(&bench.host, &["nixgate-job"]);
    bench.host.root("systemctl start --no-block nixgate-revert.service");
    bench.host.await_root("[ $(systemctl show --property=NRestarts --value nixgate-revert.service) -ge 3 ]", LIMIT);
    assert_ne!(bench.host.triple().running, before.triple.running);
    bench.host.root("systemctl stop hold.service");
    bench.host.await_root(&format!("[ $(readlink -f /run/current-system) = {} ]", before.triple.running), LIMIT);
    drop(client.kill());
    bench.host.await_root("! systemctl is-active --quiet nixgate-revert.service", LIMIT);
    with_recovery_again(bench);
    format!("{job}; busy three times; {}", bench.ends(&before, "reverted"))
}

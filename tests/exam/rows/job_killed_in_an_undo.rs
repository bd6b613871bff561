use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::process::kill_all;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "kill -9 of the job while it takes a commit back",
    expected: "taken back all the same",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&["boot-slow", "boot-fails-late"]);
    let client = bench.start("switch");
    client.await_text("root: Commit", LIMIT);
    // The profile's own lock holds up the undo, so that the kill hits it.
    bench.host.root("systemd-run --quiet --collect --unit=hold flock /nix/var/nix/profiles/system.lock sleep 600");
    client.await_text("root: Unset", LIMIT);
    let job = kill_all(&bench.host, &["nixgate-job"]);
    bench.host.root("systemctl stop hold.service");
    drop(client.wait());
    let verdict = bench.ends(&before, "reverted");
    bench.deploy();
    format!("{job}; {verdict}; the next deploy works")
}

use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::table::Written;
use crate::trap::{Moment, Trap};

pub const ROW: Written = Written {
    injected: "somebody else holds the activation's lock when the boot entry is to be installed",
    expected: "it tries again until it has it",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&[]);
    let trap = Trap::set(&bench.host, Moment::SystemdRun("committing"));
    let client = bench.start("switch");
    trap.caught();
    let lock = "/run/nixos/switch-to-configuration.lock";
    bench.host.root(&format!("systemd-run --quiet --collect --unit=hold flock {lock} sleep 600"));
    bench.host.await_root(&format!("! flock --nonblock {lock} true"), LIMIT);
    trap.release();
    client.await_text("trying again", LIMIT);
    bench.host.root("systemctl stop hold.service");
    client.wait().expect(0);
    format!("busy, then free; {}", bench.ends(&before, "committed"))
}

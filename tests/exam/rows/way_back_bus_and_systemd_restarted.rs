use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "the activation restarts the bus, or systemd",
    expected: "the verdict is the unit's own",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&["restart-dbus", "service-fails"]);
    bench.host.ssh(&["switch"]).expect(21);
    let verdict = bench.ends(&before, "reverted");
    // Logins, the fetch's too, wait for the logind that lost its bus.
    bench.host.root("systemctl restart systemd-logind");
    bench.commit(&["reexec"]);
    bench.host.ssh(&["switch"]).expect(0);
    format!("bus: {verdict}; systemd: committed")
}

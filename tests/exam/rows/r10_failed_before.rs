use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "a unit had failed before the deploy",
    expected: "it succeeds",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    bench.host.root("systemd-run --quiet --unit=oldfail --property=Type=oneshot false || true");
    bench.host.root("systemctl is-failed --quiet oldfail.service");
    let before = bench.facts();
    bench.deploy();
    let verdict = bench.ends(&before, "committed");
    bench.host.root("systemctl reset-failed oldfail.service 2>/dev/null || true");
    format!("oldfail.service had failed; {verdict}")
}

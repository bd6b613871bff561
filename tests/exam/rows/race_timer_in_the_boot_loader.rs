use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "the time comes while the boot loader is installed",
    expected: "the commit has won: there is no timer any more",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&["boot-slow"]);
    let client = bench.start("switch");
    client.await_text("root: Commit", LIMIT);
    bench.host.await_root("systemctl is-active --quiet nixgate-commit.service", LIMIT);
    let armed = bench.host.root_code("systemctl is-active --quiet nixgate-revert.timer");
    assert_ne!(armed, 0, "the timer is armed while the boot loader is installed");
    client.wait().expect(0);
    format!("no timer is armed; {}", bench.ends(&before, "committed"))
}

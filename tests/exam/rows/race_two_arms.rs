use crate::bench::{Bench, Kind};
use crate::table::Written;
use crate::trap::{Moment, Trap};

pub const ROW: Written = Written {
    injected: "a unit of the timer's name is there when it is armed",
    expected: "13; nothing was tried",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&[]);
    let trap = Trap::set(&bench.host, Moment::Sudo("armed", "systemd-run"));
    let client = bench.start("switch");
    trap.caught();
    bench.host.root("systemd-run --quiet --unit=nixgate-revert --on-active=600 true");
    trap.release();
    let answer = client.wait().expect(13);
    assert!(answer.stderr.contains("could not be armed"), "{answer:#?}");
    let verdict = bench.ends(&before, "refused");
    bench.deploy();
    format!("not armed; {verdict}; the next deploy works")
}

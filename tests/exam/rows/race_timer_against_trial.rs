use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::table::Written;
use crate::trap::{Moment, Trap};

pub const ROW: Written = Written {
    injected: "the timer fires before the trial begins",
    expected: "the trial is refused: the candidate is never activated",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    // The old system's activation waits again, so the revert is at work when the trial comes.
    let client = bench.in_activation(&[]);
    bench.host.go();
    client.wait().expect(0);
    bench.host.root("rm /run/demo-waited.*");
    let before = bench.facts();
    bench.commit(&[]);
    let trap = Trap::set(&bench.host, Moment::Announced("trial"));
    let client = bench.start("switch");
    trap.caught();
    bench.host.root("systemctl start --no-block nixgate-revert.service");
    bench.host.await_root("ls /run/demo-waited.*", LIMIT);
    trap.release();
    client.await_text("root: Revert", LIMIT);
    bench.host.go();
    let answer = client.wait().expect(20);
    assert!(!answer.stderr.contains("Could not acquire lock"), "both were started: {answer:#?}");
    format!("refused by PID 1; {}", bench.ends(&before, "reverted"))
}

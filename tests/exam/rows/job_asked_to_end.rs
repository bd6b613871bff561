use crate::bench::{Bench, Kind};
use crate::process::Inside;
use crate::table::Written;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub const ROW: Written = Written {
    injected: "SIGTERM, SIGHUP, SIGINT and SIGQUIT to the job",
    expected: "it goes on",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    let client = bench.in_activation(&[]);
    let jobs = Inside::named(&bench.host, "nixgate-job");
    for process in &jobs {
        for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            kill(Pid::from_raw(process.pid), signal).unwrap();
        }
    }
    bench.host.go();
    client.wait().expect(0);
    assert!(!jobs.is_empty());
    format!("{} asked four times; {}", jobs.len(), bench.ends(&before, "committed"))
}

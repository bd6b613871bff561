use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::process::until;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "metacharacters, a line break, look-alikes, extra words, 100 KB",
    expected: "64 and a line in the system's log each",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let host = &bench.host;
    let jobs = host.root("ls /var/lib/nixgate/jobs | wc -l");
    let lines = "journalctl -q -b -t nixgate | grep -c refused || true";
    let before: usize = host.root(lines).parse().unwrap();
    let long = "a".repeat(100_000);
    let requests = ["switch;id", "switch $(id)", "switch\nid", "sw\u{ef}tch", "\u{455}witch", "switch a b", "switch ../../etc", &long];
    for request in requests {
        let answer = host.ssh(&[request]).expect(64);
        assert!(answer.stderr.starts_with("nixgate: refused: "), "{answer:#?}");
    }
    until("each is in the log", LIMIT, || host.root(lines).parse::<usize>().unwrap() >= before + requests.len());
    assert_eq!(host.root("ls /var/lib/nixgate/jobs | wc -l"), jobs);
    format!("{} times 64, {} lines, no job", requests.len(), requests.len())
}

use crate::bench::{Bench, Kind};
use crate::host::{Commit, LIMIT};
use crate::process::kill_all;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "a boot loader that takes longer than its caller lives",
    expected: "committed; the anchor moves",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    let commit = bench.commit_with(Commit::signed().fault("boot-slow"));
    let client = bench.start("switch");
    client.await_text("root: Commit", LIMIT);
    let job = kill_all(&bench.host, &["nixgate-job"]);
    client.wait().expect(70);
    let verdict = bench.ends(&before, "committed");
    assert_eq!(bench.status()["anchor"], commit);
    format!("{job}; {verdict}")
}

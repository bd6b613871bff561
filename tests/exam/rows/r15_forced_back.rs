use crate::bench::{Bench, Kind};
use crate::host::Commit;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "the branch is forced back to an older signed commit",
    expected: "11; nothing is touched",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let older = bench.commit_with(Commit::signed());
    bench.deploy_this("switch");
    bench.deploy();
    let before = bench.facts();
    bench.host.root(&format!("git -C /srv/git/infra.git update-ref refs/heads/main {older}"));
    let answer = bench.host.ssh(&["switch"]).expect(11);
    format!("{}; {}", bench.ends(&before, "refused"), answer.stderr.lines().find(|line| line.contains("anchor") || line.contains("descend")).unwrap_or_default())
}

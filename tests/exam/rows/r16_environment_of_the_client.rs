use crate::bench::{Bench, Kind};
use crate::host::shared::Shared;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "the client sends NIXOS_NO_CHECK=1, LD_PRELOAD and PATH, and sshd takes them",
    expected: "no effect",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    bench.host.root("echo 'AcceptEnv *' >/etc/ssh/sshd_config.d/accept.conf; systemctl reload ssh.service; sshd -T | grep -qi 'acceptenv \\*'");
    let before = bench.facts();
    bench.commit(&["inhibitor"]);
    let sent = "ssh -o SetEnv='NIXOS_NO_CHECK=1 LD_PRELOAD=/tmp/x.so PATH=/tmp'";
    let answer = Shared::line(&bench.host, sent, "switch");
    assert_eq!(answer.status.code(), Some(14), "{answer:?}");
    bench.host.ssh(&["NIXOS_NO_CHECK=1 switch"]).expect(64);
    format!("14 all the same; {}", bench.ends(&before, "refused"))
}

use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "sudo is asked what nixgate and deploy may run",
    expected: "the table, and nothing",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let host = &bench.host;
    let listed = host.root("sudo -n -l -U nixgate 2>/dev/null | sed -n 's/^ *(root) NOPASSWD: //p' | sort");
    let rules = host.root("sed -n 's/^nixgate ALL = (root) NOPASSWD: //p' /etc/sudoers.d/nixgate | sort");
    assert_eq!(listed, rules);
    assert!(rules.lines().count() > 15);
    assert!(host.root("sudo -n -l -U deploy 2>/dev/null").contains("not allowed"));
    format!("{} rules for nixgate, none for deploy", rules.lines().count())
}

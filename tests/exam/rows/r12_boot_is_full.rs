use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "/boot is full",
    expected: "13 before anything is activated",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    bench.host.root(
        "mkdir /run/small && mount -t tmpfs -o size=3M,mode=0700 tmpfs /run/small && cp -a /boot/. /run/small/ && mount --bind /run/small /boot",
    );
    bench.host.config_edit_only("[boot]", "[space]\nboot = \"2M\"\n\n[boot]");
    let before = bench.facts();
    bench.commit(&["big-kernel"]);
    let answer = bench.host.ssh(&["switch"]).expect(13);
    assert!(answer.stderr.contains("/boot is too full"), "{answer:#?}");
    let verdict = bench.ends(&before, "refused");
    assert!(!bench.events("").iter().any(|event| event["event"] == "trial"));
    format!("too full; {verdict}; no trial")
}

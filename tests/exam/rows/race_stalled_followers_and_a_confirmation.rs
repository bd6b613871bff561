use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "64 followers that read nothing, and a confirmation",
    expected: "it gets through",
    on: Kind::Confirm,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    bench.commit(&["flood"]);
    let client = bench.start("switch");
    client.await_text("activating the configuration", LIMIT);
    let job = bench.status()["job"]["job"].as_str().unwrap().to_owned();
    drop(client.kill());
    bench.host.await_root(&format!("grep -q '\"confirm-by\": [0-9]' /var/lib/nixgate/jobs/{job}/record"), LIMIT);
    bench.host.root(&format!(
        "mkfifo /run/nobody-reads; systemd-run --quiet --unit=stalled --uid=deploy --property=StandardOutput=null bash -c \
         'exec 9<>/run/nobody-reads; for i in {{1..63}}; do /usr/bin/nixgate -c \"attach {job}\" >&9 2>&9 9>&- & done; wait'; chmod 666 /run/nobody-reads"
    ));
    bench.host.await_root("[ $(systemctl list-units --no-legend 'nixgate-job@*.service' 'nixgate@*.service' | wc -l) -ge 64 ]", LIMIT);
    let late = bench.host.ssh_as("other", &["attach", &job]);
    assert!([69, 70].contains(&late.code), "{late:#?}");
    bench.host.ssh(&["confirm"]).expect(0);
    let verdict = bench.ends(&before, "committed");
    bench.host.root("systemctl stop stalled.service; rm /run/nobody-reads");
    format!("64 connections, a 65th got {}; {verdict}", late.code)
}

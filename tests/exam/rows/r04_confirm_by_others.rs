use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "confirm by a key without that right, and by another local account",
    expected: "77, and no way in",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let key = |name: &str| bench.host.root(&format!("ssh-keygen -lf /root/keys/{name}.pub | cut -d' ' -f2"));
    let table = |name: &str, verbs: &str| {
        format!("[[access]]\nname = \"{name}\"\nkey = \"{}\"\nverbs = [{verbs}]\n\n", key(name))
    };
    let tables = table("ci", "\"switch\", \"confirm\", \"attach\", \"status\"") + &table("other", "\"attach\", \"status\"");
    bench.host.config_edit_only("[[check]]", &format!("{tables}[[check]]"));
    bench.host.config_edit_only("confirm = \"10s\"", "confirm = \"60s\"");
    bench.host.config_edit("mode = \"health\"", "mode = \"required\"");
    let before = bench.facts();
    bench.commit(&[]);
    let client = bench.start("switch");
    client.await_text("over a new connection", LIMIT);
    let other = bench.host.ssh_as("other", &["confirm"]).expect(77);
    assert!(other.stderr.contains("other may not confirm"), "{other:#?}");
    let local = "setpriv --reuid=git --regid=git --clear-groups socat -u OPEN:/dev/null UNIX-CONNECT:/run/nixgate/control.sock,type=5 2>&1";
    let local = bench.host.root_output(local);
    assert!(!local.status.success() && String::from_utf8_lossy(&local.stdout).contains("Permission denied"), "{local:?}");
    bench.host.ssh(&["confirm"]).expect(0);
    client.wait().expect(0);
    format!("77, permission denied; by the right one: {}", bench.ends(&before, "committed"))
}

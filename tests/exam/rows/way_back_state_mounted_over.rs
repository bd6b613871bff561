use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "something is mounted over /var/lib during the trial",
    expected: "reverted, and said so; recorded once it is gone",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    let client = bench.in_activation(&[]);
    bench.host.root("mount -t tmpfs -o size=1M tmpfs /var/lib");
    bench.host.go();
    bench.host.await_root(&format!("[ $(readlink -f /run/current-system) != {} ]", before.triple.running), LIMIT);
    let told = client.wait();
    assert_eq!(told.value("result"), "reverted", "{told:#?}");
    bench.host.await_root("! systemctl is-active --quiet nixgate-revert.timer nixgate-revert.service", LIMIT);
    bench.host.root("umount /var/lib; systemctl start nixgate-recover.service");
    let verdict = bench.ends(&before, "reverted");
    bench.deploy();
    format!("mounted over; told {}; {verdict}; the next deploy works", told.code)
}

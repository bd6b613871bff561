use crate::bench::{Bench, Kind};
use crate::table::Written;
use crate::trap::{Moment, Trap};

pub const ROW: Written = Written {
    injected: "the disk is full from the trial on",
    expected: "the reserve carries it to its end",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    bench.host.root(
        "cp -a /var/lib/nixgate /root/state; mount -t tmpfs -o size=100m,mode=0750,uid=nixgate,gid=nixgate tmpfs /var/lib/nixgate; \
         cp -a /root/state/. /var/lib/nixgate/",
    );
    let before = bench.facts();
    bench.commit(&[]);
    let trap = Trap::set(&bench.host, Moment::Announced("trial"));
    let client = bench.start("switch");
    trap.caught();
    let full = bench.host.root("cat /dev/zero >/var/lib/nixgate/ballast 2>/dev/null; df --output=avail /var/lib/nixgate | tail -n 1");
    assert_eq!(full.trim(), "0");
    trap.release();
    client.wait().expect(0);
    bench.host.root("rm /var/lib/nixgate/ballast");
    format!("0 bytes free; {}", bench.ends(&before, "committed"))
}

use crate::bench::{Bench, Kind};
use crate::host::Commit;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "a unit that had failed before fails again (4), twice",
    expected: "both deploys succeed",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let ill = bench.commit_with(Commit::signed().fault("service-fails"));
    let system = bench.host.realise(&ill);
    bench.host.root(&format!(
        "nix-env --profile /nix/var/nix/profiles/system --set {system}; {system}/bin/switch-to-configuration switch || [ $? = 4 ]"
    ));
    bench.host.root("systemctl is-failed --quiet demo.service");
    for _ in 0..2 {
        bench.commit(&["service-fails"]);
        let answer = bench.host.ssh(&["switch"]).expect(0);
        assert_eq!(bench.host.triple().running, answer.value("new"));
    }
    "4 and 4, tolerated; committed twice".to_owned()
}

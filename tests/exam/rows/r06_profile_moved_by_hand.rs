use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "the profile stands at generation 2 of 4; a deploy fails",
    expected: "2 again, by name",
    on: Kind::Own,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    for _ in 0..2 {
        bench.deploy();
    }
    bench.host.root("nix-env --profile /nix/var/nix/profiles/system --switch-generation 2 2>&1");
    let before = bench.host.triple();
    assert_eq!(before.profile, "system-2-link");
    bench.commit(&["service-fails"]);
    let answer = bench.host.ssh(&["switch"]).expect(21);
    assert_eq!(bench.host.triple(), before, "{answer:#?}");
    format!("{}; {}", answer.value("result"), before.profile)
}

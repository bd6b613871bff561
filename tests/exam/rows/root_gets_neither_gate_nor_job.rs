use crate::bench::{Bench, Kind};
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "root starts the gate, the job and recovery",
    expected: "78 each",
    on: Kind::Usual,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    for program in ["nixgate", "nixgate-job serve --platform fhs", "nixgate-job recover --platform fhs"] {
        assert_eq!(bench.host.root_code(&format!("{program} </dev/null")), 78, "{program}");
    }
    "78, 78, 78".to_owned()
}

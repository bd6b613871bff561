use crate::bench::{Bench, Kind};
use crate::host::LIMIT;
use crate::host::shared::Shared;
use crate::table::Written;

pub const ROW: Written = Written {
    injected: "confirm over a connection opened before the activation",
    expected: "77; it still waits",
    on: Kind::Confirm,
    scenario,
};

fn scenario(bench: &mut Bench) -> String {
    let before = bench.facts();
    let shared = Shared::open(&bench.host);
    bench.commit(&[]);
    let client = bench.start("switch");
    client.await_text("over a new connection", LIMIT);
    let said = shared.ssh("confirm");
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(77), "{text}");
    assert!(text.contains("opened before the activation ended"), "{text}");
    bench.host.ssh(&["confirm"]).expect(0);
    client.wait().expect(0);
    format!("77; over a new one: {}", bench.ends(&before, "committed"))
}

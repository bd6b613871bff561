//! A garbage collection that is at work for as long as somebody wants.

use crate::host::{Host, LIMIT};

/// It has Nix's lock, knows what it keeps, and has deleted nothing yet: Nix's own tests hold it there, too.
/// What it waits for is a pipe that `holder.service` has opened; that is open when the collection is there.
#[track_caller]
pub fn at_work(host: &Host) {
    let pipe = "/run/collector";
    host.root(&format!(
        "mkfifo {pipe} && \
         systemd-run --quiet --unit=collector --remain-after-exit --setenv=_NIX_TEST_GC_SYNC_2={pipe} nix-collect-garbage -d && \
         systemd-run --quiet --unit=holder --service-type=notify --property=NotifyAccess=all \
           bash -c 'exec 3>{pipe}; systemd-notify --ready; exec sleep infinity'"
    ));
}

/// The same, and it stands still: who needs Nix's lock waits.
#[track_caller]
pub fn stands_still(host: &Host) {
    at_work(host);
    host.root("systemctl freeze collector.service");
}

/// Lets it go on, to its end; what it said last.
#[track_caller]
pub fn goes_on(host: &Host) -> String {
    host.root("systemctl thaw collector.service; systemctl stop holder.service");
    host.await_root("systemctl show --property=SubState collector.service | grep -qx SubState=exited", LIMIT);
    host.root(
        "journalctl --quiet --output=cat --unit=collector.service --grep=freed | tail -n 1; \
         systemctl stop collector.service; rm /run/collector",
    )
}

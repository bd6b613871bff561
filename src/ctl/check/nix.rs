//! Nix: nobody here may be trusted by it, and builds stay in their sandbox. The job refuses to build otherwise.

use super::Report;
use crate::act::accounts::groups_of;
use crate::act::machine::Machine;
use crate::decide::builder::{ACCOUNTS, sandboxed, untrusted, untrusted_by_daemon};

/// A trusted user of the Nix daemon can put anything into the store, and so is root.
pub fn look(report: &mut Report, machine: &mut Machine) {
    let settings = match machine.nix_settings() {
        Ok(settings) => settings,
        Err(unfit) => return report.fail("Nix's settings", unfit),
    };
    for account in ACCOUNTS {
        let groups = groups_of(account).unwrap_or_default();
        report.found(format!("Nix does not trust {account}"), untrusted(&settings, account, &groups));
    }
    report.found("Nix builds in its sandbox alone", sandboxed(&settings));
}

/// As account nixgate: what the daemon itself says.
pub fn look_as_account(report: &mut Report, machine: &mut Machine) {
    let found = machine.word_of_daemon().and_then(|word| untrusted_by_daemon(&word));
    report.found("the Nix daemon answers nixgate and does not trust it", found);
}

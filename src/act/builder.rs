//! What Nix and the accounts of this host are, for [`crate::decide::builder`] to judge.

use super::accounts::groups_of;
use super::machine::Machine;
use super::process::{OnCancel, Stdout};
use crate::decide::builder::{ACCOUNTS, Settings, Unfit, plain, sandboxed, untrusted, untrusted_by_daemon};
use crate::decide::privileged::Program;
use std::time::Duration;

/// How long Nix may take to say something about itself.
const LOOK: Duration = Duration::from_secs(30);

impl Machine {
    /// Whether what is built here stays in its sandbox, and neither account is more than it is. Asked as account
    /// nixgate, so that the daemon's word is on it.
    pub fn fit_to_build(&mut self) -> Result<(), Unfit> {
        let settings = self.nix_settings()?;
        sandboxed(&settings)?;
        self.plain_accounts(&settings)
    }

    /// The same where nothing is built: neither account is more than it is.
    pub fn fit_to_take(&mut self) -> Result<(), Unfit> {
        let settings = self.nix_settings()?;
        self.plain_accounts(&settings)
    }

    fn plain_accounts(&mut self, settings: &Settings) -> Result<(), Unfit> {
        for account in ACCOUNTS {
            let groups = groups_of(account).ok_or(Unfit::NoAccount(account))?;
            untrusted(settings, account, &groups)?;
            plain(account, &groups)?;
        }
        untrusted_by_daemon(&self.word_of_daemon()?)
    }

    /// Nix's settings on this host, without anything of a user's.
    pub fn nix_settings(&mut self) -> Result<Settings, Unfit> {
        let said = self.ask_nix(&["config", "show"]).or_else(|| self.ask_nix(&["show-config"]));
        said.map(|text| Settings::parse(&text)).ok_or(Unfit::NoSettings)
    }

    /// What the daemon says of itself to the account that asks.
    pub fn word_of_daemon(&mut self) -> Result<String, Unfit> {
        let said = self.ask_nix(&["store", "info", "--json"]);
        said.or_else(|| self.ask_nix(&["store", "ping", "--json"])).ok_or(Unfit::NoDaemon)
    }

    fn ask_nix(&mut self, words: &[&str]) -> Option<String> {
        let words = [&["--extra-experimental-features", "nix-command"], words].concat();
        let mut spec = self.program(Program::Nix, &words, LOOK);
        spec.stdout = Stdout::Captured;
        spec.on_cancel = OnCancel::GoOn;
        spec.env.extend([
            ("HOME", "/var/empty".to_owned()),
            ("XDG_CONFIG_HOME", "/var/empty".to_owned()),
            ("NIX_USER_CONF_FILES", String::new()),
            // As root, too, the daemon's answer is wanted.
            ("NIX_REMOTE", "daemon".to_owned()),
        ]);
        self.run(spec).ok().filter(|ended| ended.is_success()).map(|ended| ended.text())
    }
}

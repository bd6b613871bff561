//! What tailscaled says of a node. Its socket lets every account read (`Permissions` in tailscale's ipnserver).

use super::machine::Machine;
use super::process::{OnCancel, Stdout};
use crate::decide::claim::Proof;
use crate::decide::privileged::Program;
use crate::decide::tailscale::{self, Unknown};
use std::net::IpAddr;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

impl Machine {
    /// Who owns a node. Its address comes from tailscaled's own process, and an address alone names a node.
    pub fn whois(&mut self, node: IpAddr) -> Result<Proof, Unknown> {
        let mut spec = self.program(Program::Tailscale, &["whois", "--json", &node.to_string()], LIMIT);
        spec.stdout = Stdout::Captured;
        spec.on_cancel = OnCancel::GoOn;
        let ended = self.run(spec).map_err(|error| Unknown::Whois(error.to_string()))?;
        if !ended.is_success() {
            return Err(Unknown::Whois(format!("tailscale whois {node} ended with {}", ended.code)));
        }
        tailscale::proof(&ended.stdout, node)
    }
}

//! What of a claim counts: that for which the server behind the call can vouch.

use crate::act::machine::Machine;
use crate::decide::claim::{Claim, Text};
use crate::decide::policy::Caller;
use crate::decide::session::Session;
use crate::decide::tailscale::Unknown;

/// The caller with what it proved, or why it proved nothing.
///
/// A key counts only through sshd: with Tailscale SSH a client may be able to set the gate's environment and upload the
/// file that it names. There the node's address in tailscaled's own process is what whois is asked about.
pub fn vouched_for(machine: &mut Machine, caller: Caller, session: Session) -> (Caller, Option<Unknown>) {
    let Caller::Gate(claim) = caller else { return (caller, None) };
    let nobody = |why| (Caller::Gate(Claim { proofs: Vec::new(), ..claim.clone() }), why);
    match session {
        Session::Sshd { .. } => (Caller::Gate(claim), None),
        Session::Tailscale { .. } if !machine.config.knows_the_tailnet() => nobody(None),
        Session::Tailscale { node: None, .. } => nobody(Some(Unknown::NoNode)),
        Session::Tailscale { node: Some(node), .. } => match machine.whois(node) {
            Ok(proof) => {
                let address = Some(Text::from_bytes(node.to_string().as_bytes()));
                (Caller::Gate(Claim { address, proofs: vec![proof] }), None)
            }
            Err(why) => nobody(Some(why)),
        },
        Session::Other => nobody((!claim.proofs.is_empty()).then_some(Unknown::NoServer)),
    }
}

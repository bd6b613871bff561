//! Whether a caller may: who it is, as far as the server behind the call can vouch, and the judgement on the request.

use super::{answers, note};
use crate::act::begun::audit_event;
use crate::act::channel::receive_within;
use crate::act::clock;
use crate::act::machine::Machine;
use crate::act::peer::{Peer, peer, session};
use crate::act::store::{Store, StoreError};
use crate::decide::answer::Code;
use crate::decide::claim::{self, Claim, MAX_HELLO, Text};
use crate::decide::outcome::{OrStop, Stop};
use crate::decide::policy::{Authorized, Caller, Facts, Identity, WhoseWord, identify, judge};
use crate::decide::request::Request;
use crate::decide::session::Session;
use crate::decide::tailscale::Unknown;
use crate::decide::window::Moment;
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

const FREEZE: &str = "/etc/nixgate/freeze";

/// What was asked, and by whom as far as they say.
#[derive(Debug, Clone)]
pub struct Asked {
    pub request: Request,
    caller: Caller,
    /// The process of the caller.
    pub pid: i32,
}

/// The first packet, and who sent it.
pub fn hear(channel: &OwnedFd) -> Result<Asked, Stop> {
    let (peer, pid) = peer(channel).or_stop(Code::Internal)?;
    let mut buffer = [0; MAX_HELLO + 1];
    let hello = receive_within(channel, &mut buffer, Duration::from_secs(10)).or_stop(Code::Malformed)?;
    let malformed = || Stop::new(Code::Malformed, "not a request of this version's gate; reconnect");
    let (request, claim) = claim::parse(hello).ok_or_else(malformed)?;
    let request = Request::parse(&request).or_stop(Code::Malformed)?;
    let caller = match peer {
        Peer::Deploy => Caller::Gate(claim),
        Peer::Nixgate if claim == Claim::default() => Caller::Timer,
        Peer::Nixgate | Peer::Other(_) => {
            return Err(Stop::new(Code::NotAllowed, "only the gate and the timer may ask"));
        }
    };
    Ok(Asked { request, caller, pid })
}

/// Judges, and puts a refusal into the audit log.
pub fn permit(mut machine: Machine, asked: &Asked) -> Result<(Machine, Authorized), Stop> {
    let request = asked.request.clone();
    let (caller, nobody) = vouched_for(&mut machine, asked.caller.clone(), session(asked.pid));
    let (freeze, now) = (freeze(), Moment::from_unix(clock::wall_seconds()));
    let job = match request {
        Request::Confirm(_) | Request::Cancel(_) => {
            let current = answers::current(&machine.store).or_stop(Code::NotWritable)?;
            current.map(|(_, record)| WhoseWord { confirm: record.may_confirm, cancel: record.may_cancel })
        }
        _ => None,
    };
    let asked = request.to_string();
    match judge(&machine.config, &caller, request, &Facts { freeze, job, now, nobody }) {
        Ok(authorized) => Ok((machine, authorized)),
        Err(refusal) => {
            let identity = identify(&machine.config, &caller);
            note_refusal(&machine.store, &identity, &asked, &refusal.to_string())
                .or_stop(Code::NotWritable)?;
            Err(Stop::new(Code::NotAllowed, refusal))
        }
    }
}

/// The caller with what it proved, or why it proved nothing.
///
/// A key counts only through sshd: with Tailscale SSH a client may be able to set the gate's environment and upload the
/// file that it names. There the node's address in tailscaled's own process is what whois is asked about.
fn vouched_for(machine: &mut Machine, caller: Caller, session: Session) -> (Caller, Option<Unknown>) {
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

/// The first line of the freeze file. One that cannot be read freezes, too.
pub fn freeze() -> Option<String> {
    match fs::read_to_string(FREEZE) {
        Ok(text) => Some(text.lines().next().unwrap_or("no reason given").to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("{FREEZE} cannot be read: {error}")),
    }
}

fn note_refusal(store: &Store, identity: &Identity, request: &str, why: &str) -> Result<(), StoreError> {
    note(&format!("refused {} for {}: {why}", request, identity.name));
    let detail = [("request", request.to_owned()), ("why", why.to_owned())];
    store.audit_refusal(audit_event("not-allowed", None, identity, &detail))
}

//! Who may ask for what. One pure function says yes, at its last line; nothing else can make [`Authorized`].

use super::access::{Access, spellings};
use super::claim::{Claim, Proof};
use super::config::Config;
use super::request::{Request, Verb};
use super::role::{Generation, Rights};
use super::tailscale::Unknown;
use super::window::{Moment, Opening};

/// Who is on the other end of the socket, as the kernel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The gate, as account deploy: who it speaks for is its claim.
    Gate(Claim),
    /// A process of account nixgate: the local timer.
    Timer,
}

/// The name of the local timer.
pub const TIMER: &str = "timer";
/// The name of callers whose key is not known.
pub const UNKNOWN: &str = "unknown";

/// A caller with the name that logs, records and joins use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub address: Option<String>,
    /// What `confirm` and `cancel` are judged by, because names are the configuration's.
    pub proofs: Vec<Proof>,
}

/// A request that was allowed. There is no other way to make one than [`judge`].
#[derive(Debug, PartialEq, Eq)]
pub struct Authorized {
    request: Request,
    identity: Identity,
}

impl Authorized {
    pub fn request(&self) -> &Request {
        &self.request
    }
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
    pub fn into_parts(self) -> (Request, Identity) {
        (self.request, self.identity)
    }
}

/// Why not. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "this key has no [[access]] table; an operator adds one with its fingerprint, {0}, in /etc/nixgate/config.toml"
    )]
    UnknownKey(String),
    #[error(
        "it is not known which key this connection used; the sshd block of `nixgatectl render` sets ExposeAuthInfo yes"
    )]
    NoIdentity,
    #[error("{0}")]
    NobodyKnown(Unknown),
    #[error(
        "{0} has no [[access]] table; an operator adds one with `tailscale = \"{0}\"` in /etc/nixgate/config.toml"
    )]
    UnknownNode(String),
    #[error(
        "the certificate {0} has ended since this connection was opened; get a new one and ask over a new connection (ssh -o ControlPath=none)"
    )]
    CertificateEnded(String),
    #[error("{name} may not {verb}; its verbs are: {verbs}")]
    NotGranted { name: String, verb: Verb, verbs: String },
    #[error(
        "choosing a generation needs an [[access]] table with `generation = true`, because old systems have old holes; plain `rollback` does not"
    )]
    GenerationNotGranted,
    #[error("{name} may not {verb} the job in progress; who may was settled when it was accepted")]
    NotThisJob { name: String, verb: Verb },
    #[error("deploys are frozen: {0}; an operator removes /etc/nixgate/freeze")]
    Frozen(String),
    #[error(
        "{name} may not {verb} at this hour; the next window opens {opens}; rollback, confirm and cancel have no hours"
    )]
    OutsideWindow { name: String, verb: Verb, opens: Opening },
}

/// Facts about the host that bear on a judgement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The first line of the freeze file, if there is one.
    pub freeze: Option<String>,
    /// The job in progress, if there is one.
    pub job: Option<WhoseWord>,
    pub now: Moment,
    /// Why the caller is nobody, where that is known.
    pub nobody: Option<Unknown>,
}

/// The credentials whose `confirm` and `cancel` a job takes, as its record has them; `None`: anybody's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WhoseWord {
    pub confirm: Option<Vec<String>>,
    pub cancel: Option<Vec<String>>,
}

impl WhoseWord {
    fn takes_word(&self, verb: Verb, identity: &Identity) -> bool {
        let allowed = if verb == Verb::Confirm { &self.confirm } else { &self.cancel };
        let spoken: Vec<String> = identity.proofs.iter().flat_map(spellings).collect();
        let own = |allowed: &Vec<String>| allowed.iter().any(|credential| spoken.contains(credential));
        allowed.as_ref().is_none_or(own)
    }
}

/// The whole policy. Every refusal returns early.
pub fn judge(
    config: &Config,
    caller: &Caller,
    request: Request,
    facts: &Facts,
) -> Result<Authorized, Refusal> {
    let identity = identify(config, caller);
    if let Some(proof) = identity.proofs.iter().find(|proof| has_ended(proof, facts.now)) {
        return Err(Refusal::CertificateEnded(shown(proof)));
    }
    if let (Some(job), Some(verb @ (Verb::Confirm | Verb::Cancel))) = (&facts.job, request.verb()) {
        // Whose word counts was settled when the job was accepted; the configuration of now may be the candidate's.
        return match job.takes_word(verb, &identity) {
            true => Ok(Authorized { request, identity }),
            false => Err(Refusal::NotThisJob { name: identity.name, verb }),
        };
    }
    let rights = grant(config, caller, &identity, facts)?;
    if let (Some(rights), Some(verb)) = (rights, request.verb())
        && !rights.verbs.contains(&verb)
    {
        let verbs = rights.verbs.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Refusal::NotGranted { name: identity.name, verb, verbs });
    }
    if matches!(request, Request::Rollback(Some(_)))
        && rights.is_none_or(|rights| rights.generation == Generation::MayNot)
    {
        return Err(Refusal::GenerationNotGranted);
    }
    // The way back has no hours, and neither has what only looks.
    if let Some(verb @ (Verb::Fetch | Verb::Switch | Verb::Test | Verb::Boot)) = request.verb()
        && let Some(windows) = rights.and_then(|rights| rights.windows.as_ref())
        && !windows.is_open(facts.now)
    {
        let opens = windows.next(facts.now);
        return Err(Refusal::OutsideWindow { name: identity.name, verb, opens });
    }
    if let (Some(reason), Request::Switch(_) | Request::Test(_) | Request::Boot(_)) =
        (&facts.freeze, &request)
    {
        return Err(Refusal::Frozen(reason.clone()));
    }
    Ok(Authorized { request, identity })
}

/// The rights of the [[access]] table that speaks for this caller; `None` where there are none and so no limits.
fn grant<'c>(
    config: &'c Config,
    caller: &Caller,
    identity: &Identity,
    facts: &Facts,
) -> Result<Option<&'c Rights>, Refusal> {
    let Some(tables) = &config.access else { return Ok(None) };
    if *caller == Caller::Timer {
        return Ok(None);
    }
    match (table_of(tables, &identity.proofs), identity.proofs.first(), &facts.nobody) {
        (Some(access), ..) => Ok(Some(&access.rights)),
        (None, Some(node @ Proof::Tailnet(_)), _) => Err(Refusal::UnknownNode(shown(node))),
        (None, Some(proof), _) => Err(Refusal::UnknownKey(shown(proof))),
        (None, None, Some(why)) => Err(Refusal::NobodyKnown(why.clone())),
        (None, None, None) => Err(Refusal::NoIdentity),
    }
}

/// sshd looked at a certificate's end when it let the caller in; a connection can be kept for longer.
fn has_ended(proof: &Proof, now: Moment) -> bool {
    matches!(proof, Proof::Certificate { valid_before: Some(end), .. } if *end <= now.unix())
}

/// The first table whose credential was proven.
pub fn table_of<'c>(tables: &'c [Access], proofs: &[Proof]) -> Option<&'c Access> {
    tables.iter().find(|access| proofs.iter().any(|proof| access.credential.is_proven_by(proof)))
}

/// A key by its fingerprint; a certificate by its authority's and the key id; a node by its user or first tag.
fn shown(proof: &Proof) -> String {
    match proof {
        Proof::Key(key) => key.to_string(),
        Proof::Certificate { authority, key_id, .. } => format!("{authority}/{}", key_id.as_str()),
        Proof::Tailnet(names) => names.first().map_or_else(|| UNKNOWN.to_owned(), ToString::to_string),
    }
}

/// The name of a caller: of its [[access]] table, else what it proved.
pub fn identify(config: &Config, caller: &Caller) -> Identity {
    let claim = match caller {
        Caller::Timer => return Identity { name: TIMER.to_owned(), address: None, proofs: Vec::new() },
        Caller::Gate(claim) => claim,
    };
    let known = table_of(config.access.as_deref().unwrap_or_default(), &claim.proofs);
    let name = match (known, claim.proofs.first()) {
        (Some(access), _) => access.name.to_string(),
        (None, Some(proof)) => shown(proof),
        (None, None) => UNKNOWN.to_owned(),
    };
    let address = claim.address.as_ref().map(|a| a.as_str().to_owned());
    Identity { name, address, proofs: claim.proofs.clone() }
}

/// Whose `confirm` or `cancel` a job takes: `None` is anybody's that sshd lets in. It is decided when the job
/// is accepted, because later the configuration is the candidate's.
pub fn credentials_that_may(config: &Config, verb: Verb) -> Option<Vec<String>> {
    config.access.as_ref().map(|tables| {
        tables
            .iter()
            .filter(|access| access.rights.verbs.contains(&verb))
            .map(|access| access.credential.to_string())
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::super::value::Fingerprint;
    use super::*;

    fn config(access: &str) -> Config {
        let smallest = "version = 1\n[source]\nkind = \"flake\"\nurl = \"https://h/x\"\nsystem = \"a\"\n";
        Config::parse(&format!("{smallest}{access}")).unwrap()
    }
    fn gate(letter: Option<&str>) -> Caller {
        let key = |l: &str| Proof::Key(Fingerprint::parse(&format!("SHA256:{}", l.repeat(43))).unwrap());
        Caller::Gate(Claim { address: None, proofs: letter.map(key).into_iter().collect() })
    }
    fn ask(config: &Config, caller: &Caller, request: &str, facts: &Facts) -> Result<(), Refusal> {
        judge(config, caller, Request::parse(request.as_bytes()).unwrap(), facts).map(|_| ())
    }
    fn ci(verbs: &str, more: &str) -> Config {
        config(&format!("[[access]]\nname=\"ci\"\nkey=\"SHA256:{}\"\nverbs={verbs}\n{more}", "A".repeat(43)))
    }

    #[test]
    fn with_no_access_table_every_key_may_do_all_but_choose_a_generation() {
        let (open, facts) = (config(""), Facts::default());
        for request in ["switch", "rollback", "status", "cancel"] {
            assert_eq!(ask(&open, &gate(Some("b")), request, &facts), Ok(()));
        }
        assert_eq!(ask(&open, &gate(Some("b")), "rollback 3", &facts), Err(Refusal::GenerationNotGranted));
        assert_eq!(ask(&open, &Caller::Timer, "rollback 3", &facts), Err(Refusal::GenerationNotGranted));
    }

    #[test]
    fn with_any_access_table_no_match_means_no() {
        let (config, facts) = (ci("[\"fetch\"]", ""), Facts::default());
        assert_eq!(ask(&config, &gate(Some("A")), "fetch", &facts), Ok(()));
        assert!(matches!(ask(&config, &gate(Some("A")), "switch", &facts), Err(Refusal::NotGranted { .. })));
        assert!(matches!(ask(&config, &gate(Some("B")), "fetch", &facts), Err(Refusal::UnknownKey(_))));
        assert_eq!(ask(&config, &gate(None), "fetch", &facts), Err(Refusal::NoIdentity));
        assert_eq!(ask(&config, &Caller::Timer, "switch", &facts), Ok(()));
    }

    #[test]
    fn a_generation_is_chosen_only_by_a_role_that_names_it() {
        let facts = Facts::default();
        assert_eq!(
            ask(&ci("[\"rollback\"]", "generation=true"), &gate(Some("A")), "rollback 3", &facts),
            Ok(())
        );
        let without = ask(&ci("[\"rollback\"]", ""), &gate(Some("A")), "rollback 3", &facts);
        assert_eq!(without, Err(Refusal::GenerationNotGranted));
    }

    #[test]
    fn whose_word_a_job_takes_was_settled_when_it_was_accepted() {
        let (none, ci) = (ci("[]", ""), "A".repeat(43));
        let job = WhoseWord { confirm: Some(vec![format!("SHA256:{ci}")]), cancel: None };
        let facts = Facts { job: Some(job), ..Facts::default() };
        assert_eq!(ask(&none, &gate(Some("A")), "confirm", &facts), Ok(()));
        assert!(matches!(ask(&none, &gate(Some("B")), "confirm", &facts), Err(Refusal::NotThisJob { .. })));
        assert_eq!(ask(&none, &gate(Some("B")), "cancel", &facts), Ok(()));
        assert!(matches!(
            ask(&none, &gate(Some("A")), "confirm", &Facts::default()),
            Err(Refusal::NotGranted { .. })
        ));
    }

    #[test]
    fn a_freeze_stops_what_is_new_and_leaves_the_way_back_open() {
        let facts = Facts { freeze: Some("holiday".to_owned()), ..Facts::default() };
        for request in ["switch", "test", "boot"] {
            assert!(matches!(ask(&config(""), &gate(Some("A")), request, &facts), Err(Refusal::Frozen(_))));
        }
        for request in ["fetch", "rollback", "confirm", "cancel", "status", "attach"] {
            assert_eq!(ask(&config(""), &gate(Some("A")), request, &facts), Ok(()), "{request}");
        }
    }

    fn at(seconds: u64) -> Facts {
        Facts { now: Moment::from_unix(seconds), ..Facts::default() }
    }

    #[test]
    fn outside_of_its_window_nothing_new_begins_and_the_way_back_stays_open() {
        let every = "[\"fetch\",\"switch\",\"test\",\"boot\",\"rollback\",\"confirm\",\"cancel\",\"attach\",\"status\"]";
        let config = ci(every, "generation=true\nwindows=[\"Thu 08:00-18:00 UTC\"]");
        let (early, open) = (at(7 * 3600), at(8 * 3600)); // 1970 began on a Thursday
        for request in ["fetch", "switch", "test", "boot"] {
            let refused = ask(&config, &gate(Some("A")), request, &early).unwrap_err();
            assert!(refused.to_string().contains("the next window opens Thu 08:00 UTC"), "{refused}");
            assert_eq!(ask(&config, &gate(Some("A")), request, &open), Ok(()));
        }
        for request in ["rollback", "rollback 3", "confirm", "cancel", "attach", "status"] {
            assert_eq!(ask(&config, &gate(Some("A")), request, &early), Ok(()), "{request}");
        }
        assert_eq!(ask(&config, &Caller::Timer, "switch", &early), Ok(()), "systemd has its own calendar");
    }

    #[test]
    fn a_certificate_that_has_ended_proves_nothing_any_more() {
        let authority = Fingerprint::parse(&format!("SHA256:{}", "C".repeat(43))).unwrap();
        let config = config(&format!(
            "[[access]]\nname=\"ops\"\nauthority=\"{authority}\"\nprincipal=\"p\"\nverbs=[\"status\",\"confirm\"]\n"
        ));
        let certificate = |valid_before| {
            let text = |text: &[u8]| super::super::claim::Text::from_bytes(text);
            let proof = Proof::Certificate {
                authority: authority.clone(),
                key_id: text(b"bob"),
                principals: vec![text(b"p")],
                valid_before,
            };
            Caller::Gate(Claim { address: None, proofs: vec![proof] })
        };
        let job = WhoseWord { confirm: Some(vec![format!("{authority} p")]), cancel: None };
        let waiting = Facts { job: Some(job), ..at(1000) };
        for (request, facts) in [("status", at(1000)), ("confirm", waiting.clone()), ("cancel", waiting)] {
            let ended = ask(&config, &certificate(Some(1000)), request, &facts);
            assert!(matches!(ended, Err(Refusal::CertificateEnded(_))), "{request}: {ended:?}");
        }
        assert_eq!(ask(&config, &certificate(Some(1001)), "status", &at(1000)), Ok(()));
        assert_eq!(ask(&config, &certificate(None), "status", &at(u64::MAX)), Ok(()));
    }

    #[test]
    fn a_node_of_the_tailnet_has_the_rights_of_its_name_and_nobody_those_of_another() {
        let config = config(
            "[[access]]\nname=\"alice\"\ntailscale=\"alice@example.org\"\nrole=\"ops\"\n\
             [[role]]\nname=\"ops\"\nverbs=[\"status\"]\n",
        );
        let node = |name: &str| {
            let name = super::super::tailscale::TailnetName::parse(name).unwrap();
            Caller::Gate(Claim { address: None, proofs: vec![Proof::Tailnet(vec![name])] })
        };
        let facts = Facts::default();
        assert_eq!(ask(&config, &node("alice@example.org"), "status", &facts), Ok(()));
        assert_eq!(identify(&config, &node("alice@example.org")).name, "alice");
        let not = ask(&config, &node("alice@example.org"), "switch", &facts);
        assert!(matches!(not, Err(Refusal::NotGranted { .. })));
        let other = ask(&config, &node("tag:ci"), "status", &facts).unwrap_err().to_string();
        assert!(other.contains("`tailscale = \"tag:ci\"`"), "{other}");
        assert_eq!(credentials_that_may(&config, Verb::Confirm), Some(vec![]));
        let why = Unknown::Whois("it does not run".to_owned());
        let facts = Facts { nobody: Some(why.clone()), ..Facts::default() };
        assert_eq!(ask(&config, &gate(None), "status", &facts), Err(Refusal::NobodyKnown(why)));
    }
}

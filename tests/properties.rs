//! What has to hold for every input, with inputs by chance: a failure is shown in its smallest form.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use nixgate::decide::answer::Packet;
use nixgate::decide::chain::{Chain, Event, Head, append, head_of, verify};
use nixgate::decide::claim::{self, Claim, MAX_HELLO, MAX_LIST, MAX_TEXT, Proof, Text};
use nixgate::decide::config::Config;
use nixgate::decide::policy::{Authorized, Caller, Facts, WhoseWord, judge};
use nixgate::decide::record::{HostState, JobResult, Record, read};
use nixgate::decide::request::Request;
use nixgate::decide::state::STATES;
use nixgate::decide::tailscale::TailnetName;
use nixgate::decide::value::Fingerprint;
use nixgate::decide::window::Moment;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::Value;

// ---- requests ----

const VERBS: [&str; 9] =
    ["fetch", "switch", "test", "boot", "rollback", "confirm", "cancel", "attach", "status"];

/// Every form that can be asked.
fn request() -> impl Strategy<Value = String> {
    let commit = "(fetch|switch|test|boot) ([0-9a-f]{40}|[0-9a-f]{64})";
    let others =
        "rollback [1-9][0-9]{0,8}|(confirm|cancel|attach) [1-9][0-9]{0,8}-[0-9a-f]{8}|status --json|true";
    prop_oneof![select(&VERBS[..]).prop_map(str::to_owned), commit, others]
}

proptest! {
    #[test]
    fn a_request_is_given_back_byte_for_byte(text in request()) {
        prop_assert_eq!(Request::parse(text.as_bytes()).unwrap().to_string(), text);
    }

    #[test]
    fn what_only_resembles_a_request_is_refused_or_given_back(
        text in request(), at in any::<prop::sample::Index>(), byte: u8, edit in 0..3,
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        match edit {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
        if let Ok(request) = Request::parse(&bytes) {
            prop_assert_eq!(request.to_string().into_bytes(), bytes);
        }
    }
}

// ---- policy ----

/// An [[access]] table, in words of this page.
#[derive(Debug, Clone)]
struct Table {
    credential: Named,
    verbs: Vec<&'static str>,
    generation: bool,
    /// From 8 to 18 o'clock only.
    by_day: bool,
    /// Its rights stand in a [[role]].
    by_role: bool,
}

/// A key; an authority and a principal; a node of a tailnet. Few of each, so that they meet.
#[derive(Debug, Clone, PartialEq)]
enum Named {
    Key(char),
    Principal(char, &'static str),
    Node(&'static str),
}

/// A key; a certificate with its authority and principals, and whether it has ended; the names of a node.
#[derive(Debug, Clone)]
enum Shown {
    Key(char),
    Certificate(char, Vec<&'static str>, bool),
    Node(Vec<&'static str>),
}

const LETTERS: [char; 3] = ['A', 'B', 'C'];
const PRINCIPALS: [&str; 3] = ["dep", "deploy", "deployers"];
const NODES: [&str; 3] = ["tag:ci", "tag:c", "ci@example.org"];
/// A Monday at midnight, in seconds since 1970.
const MONDAY: u64 = 1_767_571_200;

fn fingerprint(letter: char) -> String {
    format!("SHA256:{}", letter.to_string().repeat(43))
}

impl Named {
    fn text(&self) -> String {
        match self {
            Self::Key(letter) => fingerprint(*letter),
            Self::Principal(letter, principal) => format!("{} {principal}", fingerprint(*letter)),
            Self::Node(name) => format!("tailscale {name}"),
        }
    }
    fn is_shown_by(&self, shown: &[Shown]) -> bool {
        shown.iter().any(|shown| match (self, shown) {
            (Self::Key(named), Shown::Key(key)) => named == key,
            (Self::Principal(named, principal), Shown::Certificate(authority, principals, _)) => {
                named == authority && principals.contains(principal)
            }
            (Self::Node(named), Shown::Node(names)) => names.contains(named),
            _ => false,
        })
    }
}

impl Shown {
    fn proof(&self) -> Proof {
        let parsed = |letter: char| Fingerprint::parse(&fingerprint(letter)).unwrap();
        match self {
            Self::Key(letter) => Proof::Key(parsed(*letter)),
            Self::Node(names) => {
                Proof::Tailnet(names.iter().map(|name| TailnetName::parse(name).unwrap()).collect())
            }
            Self::Certificate(letter, principals, ended) => Proof::Certificate {
                authority: parsed(*letter),
                key_id: Text::from_bytes(b"deployers"),
                principals: principals.iter().map(|name| Text::from_bytes(name.as_bytes())).collect(),
                valid_before: ended.then_some(MONDAY),
            },
        }
    }
}

fn named() -> impl Strategy<Value = Named> {
    let principal = (select(&LETTERS[..]), select(&PRINCIPALS[..]));
    prop_oneof![
        select(&LETTERS[..]).prop_map(Named::Key),
        principal.prop_map(|(letter, principal)| Named::Principal(letter, principal)),
        select(&NODES[..]).prop_map(Named::Node),
    ]
}

fn shown() -> impl Strategy<Value = Shown> {
    let certificate =
        (select(&LETTERS[..]), subsequence(&PRINCIPALS[..], 0..=3), proptest::bool::weighted(0.1));
    prop_oneof![
        select(&LETTERS[..]).prop_map(Shown::Key),
        certificate.prop_map(|(letter, principals, ended)| Shown::Certificate(letter, principals, ended)),
        subsequence(&NODES[..], 1..=3).prop_map(Shown::Node),
    ]
}

fn tables() -> impl Strategy<Value = Option<Vec<Table>>> {
    let verbs = subsequence(&VERBS[..], 0..=VERBS.len());
    let table = (named(), verbs, any::<[bool; 3]>()).prop_map(
        |(credential, verbs, [generation, by_day, by_role])| Table {
            credential,
            verbs,
            generation,
            by_day,
            by_role,
        },
    );
    option::weighted(
        0.8,
        vec(table, 1..5).prop_map(|mut tables| {
            let all = tables.clone();
            let mut at = 0..;
            tables.retain(|table| {
                let before = &all[..at.next().unwrap()];
                before.iter().all(|other| other.credential != table.credential)
            });
            tables
        }),
    )
}

/// The configuration that says so.
fn config(tables: Option<&[Table]>) -> Config {
    let mut text =
        "version = 1\n[source]\nkind = \"flake\"\nurl = \"https://h/x\"\nsystem = \"a\"\n".to_owned();
    for (number, table) in tables.unwrap_or_default().iter().enumerate() {
        let credential = match &table.credential {
            Named::Key(letter) => format!("key = \"{}\"", fingerprint(*letter)),
            Named::Principal(letter, principal) => {
                format!("authority = \"{}\"\nprincipal = \"{principal}\"", fingerprint(*letter))
            }
            Named::Node(name) => format!("tailscale = \"{name}\""),
        };
        let Table { verbs, generation, by_day, by_role, .. } = table;
        let windows = if *by_day { "windows = [\"08:00-18:00 UTC\"]\n" } else { "" };
        let rights = format!("verbs = {verbs:?}\ngeneration = {generation}\n{windows}");
        text += &format!("[[access]]\nname = \"name{number}\"\n{credential}\n");
        text += &match by_role {
            true => format!("role = \"role{number}\"\n[[role]]\nname = \"role{number}\"\n{rights}"),
            false => rights,
        };
    }
    Config::parse(&text).unwrap()
}

/// Everything that a judgement sees, twice: in our words and in those of the code.
#[derive(Debug, Clone)]
struct Case {
    tables: Option<Vec<Table>>,
    /// `None`: the timer.
    caller: Option<Vec<Shown>>,
    request: String,
    frozen: bool,
    /// Hours since that Monday.
    hour: u64,
    /// A job, with whose confirm and whose cancel it takes.
    job: Option<(Whose, Whose)>,
}

/// `None`: anybody's.
type Whose = Option<Vec<Named>>;

fn case() -> impl Strategy<Value = Case> {
    let caller = option::weighted(0.9, vec(shown(), 0..3));
    let list = || option::of(vec(named(), 0..3));
    let job = option::of((list(), list()));
    (tables(), caller, request(), any::<bool>(), 0_u64..200, job).prop_map(
        |(tables, caller, request, frozen, hour, job)| Case { tables, caller, request, frozen, hour, job },
    )
}

impl Case {
    fn verb(&self) -> &str {
        self.request.split(' ').next().unwrap()
    }
    fn is_rollback_to_a_chosen_generation(&self) -> bool {
        self.request.starts_with("rollback ")
    }
    fn shown(&self) -> &[Shown] {
        self.caller.as_deref().unwrap_or_default()
    }
    /// Whose word a running job takes; `None`: no job is asked about.
    fn word(&self) -> Option<&Whose> {
        match (self.verb(), &self.job) {
            ("confirm", Some((confirm, _))) => Some(confirm),
            ("cancel", Some((_, cancel))) => Some(cancel),
            _ => None,
        }
    }
    /// The tables that name what the caller showed.
    fn own_tables(&self) -> Vec<&Table> {
        let tables = self.tables.as_deref().unwrap_or_default();
        tables.iter().filter(|table| table.credential.is_shown_by(self.shown())).collect()
    }
    fn is_granted_by(&self, table: &Table) -> bool {
        (self.verb() == "true" || table.verbs.contains(&self.verb()))
            && (table.generation || !self.is_rollback_to_a_chosen_generation())
            && (!table.by_day
                || self.is_by_day()
                || !["fetch", "switch", "test", "boot"].contains(&self.verb()))
    }
    fn is_by_day(&self) -> bool {
        (8..18).contains(&(self.hour % 24))
    }
    fn shows_what_has_ended(&self) -> bool {
        self.shown().iter().any(|shown| matches!(shown, Shown::Certificate(_, _, true)))
    }
    fn is_stopped_by_a_freeze(&self) -> bool {
        self.frozen && ["switch", "test", "boot"].contains(&self.verb())
    }

    fn judged(&self) -> Option<Authorized> {
        let proofs = |shown: &Vec<Shown>| shown.iter().map(Shown::proof).collect();
        let caller = match &self.caller {
            None => Caller::Timer,
            Some(shown) => Caller::Gate(Claim { proofs: proofs(shown), ..Claim::default() }),
        };
        let list = |list: &Whose| list.as_ref().map(|names| names.iter().map(Named::text).collect());
        let job = self
            .job
            .as_ref()
            .map(|(confirm, cancel)| WhoseWord { confirm: list(confirm), cancel: list(cancel) });
        let freeze = self.frozen.then(|| "holiday".to_owned());
        let now = Moment::from_unix(MONDAY + self.hour * 3600);
        let facts = Facts { freeze, job, now, ..Facts::default() };
        let request = Request::parse(self.request.as_bytes()).unwrap();
        judge(&config(self.tables.as_deref()), &caller, request, &facts).ok()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn judge_never_allows_what_the_configuration_does_not_name(case in case()) {
        let Some(authorized) = case.judged() else { return Ok(()) };
        prop_assert_eq!(authorized.request().to_string(), case.request.clone());
        prop_assert!(!case.shows_what_has_ended());
        if let Some(word) = case.word() {
            let named = |names: &Vec<Named>| names.iter().any(|named| named.is_shown_by(case.shown()));
            prop_assert!(word.as_ref().is_none_or(named), "the job takes the word of others only");
            return Ok(());
        }
        prop_assert!(!case.is_stopped_by_a_freeze());
        let (Some(tables), Some(shown)) = (&case.tables, &case.caller) else {
            prop_assert!(!case.is_rollback_to_a_chosen_generation());
            return Ok(());
        };
        let number: usize = authorized.identity().name.strip_prefix("name").unwrap().parse().unwrap();
        prop_assert!(tables[number].credential.is_shown_by(shown), "the table of somebody else");
        prop_assert!(case.is_granted_by(&tables[number]), "the table does not grant it");
    }

    #[test]
    fn judge_allows_what_the_only_table_of_a_caller_grants(case in case()) {
        let own = case.own_tables();
        let stopped = case.is_stopped_by_a_freeze() || case.shows_what_has_ended();
        if own.len() == 1 && case.is_granted_by(own[0]) && !stopped && case.word().is_none() {
            prop_assert!(case.judged().is_some());
        }
    }
}

// ---- what goes through the socket ----

fn text() -> impl Strategy<Value = Text> {
    vec(any::<u8>(), 0..200).prop_map(|bytes| Text::from_bytes(&bytes))
}

fn proof() -> impl Strategy<Value = Proof> {
    let digest = || "SHA256:[A-Za-z0-9+/]{43}".prop_map(|text| Fingerprint::parse(&text).unwrap());
    prop_oneof![
        digest().prop_map(Proof::Key),
        (digest(), text(), vec(text(), 0..8), option::of(any::<u64>())).prop_map(
            |(authority, key_id, principals, valid_before)| Proof::Certificate {
                authority,
                key_id,
                principals,
                valid_before,
            }
        ),
    ]
}

proptest! {
    #[test]
    fn a_claim_arrives_as_it_was(asked in request(), address in option::of(text()), proofs in vec(proof(), 0..MAX_LIST)) {
        let claim = Claim { address, proofs };
        let packet = claim::render(&Request::parse(asked.as_bytes()).unwrap(), &claim);
        let expected = (packet.len() <= MAX_HELLO).then(|| (asked.into_bytes(), claim));
        prop_assert_eq!(claim::parse(packet.as_bytes()), expected);
    }

    #[test]
    fn text_of_others_is_short_and_printable(text in text()) {
        let text = text.as_str();
        prop_assert!((1..=MAX_TEXT).contains(&text.len()) && text.trim() == text);
        prop_assert!(text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
    }

    #[test]
    fn a_packet_is_given_back_byte_for_byte(bytes in vec(any::<u8>(), 0..40)) {
        if let Some(packet) = Packet::parse(&bytes) {
            prop_assert_eq!(packet.render(), bytes);
        }
    }
}

// ---- what is kept ----

fn event() -> impl Strategy<Value = Event> {
    let detail = vec((any::<String>(), any::<String>()), 0..4);
    (any::<String>(), option::of(any::<String>()), option::of(any::<String>()), detail).prop_map(
        |(boot, job, identity, detail)| Event {
            time: "2026-01-02T03:04:05Z".to_owned(),
            boot,
            job,
            event: "trial",
            identity,
            detail: detail.into_iter().map(|(key, value)| (key, Value::from(value))).collect(),
        },
    )
}

fn lines() -> impl Strategy<Value = (Vec<String>, Head)> {
    vec(event(), 1..6).prop_map(|events| {
        let mut head = Head::start();
        let mut lines = Vec::new();
        for event in &events {
            let (line, next) = append(&head, event).unwrap();
            lines.push(line);
            head = next;
        }
        (lines, head)
    })
}

proptest! {
    #[test]
    fn a_chain_is_whole_until_a_line_is_changed_moved_or_taken_out(
        (lines, head) in lines(), one in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
    ) {
        let whole = lines.concat();
        prop_assert_eq!(verify(&whole), Chain::Whole(head.clone()));
        prop_assert_eq!(head_of(&whole), Some(head.clone()));
        let (one, other) = (one.index(lines.len()), other.index(lines.len()));
        let mut swapped = lines.clone();
        swapped.swap(one, other);
        prop_assert!(one == other || matches!(verify(&swapped.concat()), Chain::Broken(_)));
        let mut twice = lines.clone();
        twice.insert(other, lines[one].clone());
        prop_assert!(matches!(verify(&twice.concat()), Chain::Broken(_)));
        if one + 1 < lines.len() {
            let mut gap = lines.clone();
            gap.remove(one);
            prop_assert!(matches!(verify(&gap.concat()), Chain::Broken(_)));
        }
        let at = at.index(whole.len());
        let mut changed = whole.clone().into_bytes();
        changed[at] ^= 1;
        if let Ok(changed) = String::from_utf8(changed) {
            prop_assert!(!matches!(verify(&changed), Chain::Whole(_)), "{}", changed);
        }
        if let Some(cut) = whole.get(..at) {
            match verify(cut) {
                Chain::Whole(end) | Chain::Torn(end, _) => prop_assert!(end.seq < head.seq),
                Chain::Broken(line) => prop_assert!(false, "line {} is broken by a cut", line),
            }
        }
    }
}

/// The same file with other text and other numbers in it.
fn refilled(value: &Value, words: &mut impl Iterator<Item = String>, number: u8) -> Value {
    match value {
        Value::String(_) => Value::String(words.next().unwrap_or_default()),
        Value::Number(_) => Value::from(number),
        Value::Array(items) => items.iter().map(|item| refilled(item, words, number)).collect(),
        Value::Object(pairs) => pairs
            .iter()
            .map(|(key, value)| {
                let value = match key.as_str() {
                    "v" => value.clone(),
                    "state" => Value::from(STATES[usize::from(number) % STATES.len()].name),
                    _ => refilled(value, words, number),
                };
                (key.clone(), value)
            })
            .collect(),
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

fn comes_back<T>(golden: &str, words: &[String], number: u8) -> Result<(), TestCaseError>
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let golden: Value = serde_json::from_str(golden).unwrap();
    let file = refilled(&golden, &mut words.iter().cycle().cloned(), number);
    let value = read::<T>(&file.to_string()).unwrap();
    prop_assert_eq!(serde_json::to_value(&value).unwrap(), file);
    prop_assert_eq!(read::<T>(&serde_json::to_string_pretty(&value).unwrap()).unwrap(), value);
    Ok(())
}

proptest! {
    #[test]
    fn a_file_of_a_transaction_comes_back_as_it_was(words in vec(any::<String>(), 1..20), number: u8) {
        comes_back::<Record>(include_str!("golden/record.json"), &words, number)?;
        comes_back::<JobResult>(include_str!("golden/result.json"), &words, number)?;
        comes_back::<HostState>(include_str!("golden/state.json"), &words, number)?;
    }
}

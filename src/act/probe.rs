//! Many questions at once: each with its limit and its retries, all under one deadline, one loop that waits.

use super::clock::Instant;
use super::inbox::{Inbox, Woken};
use super::log::Log;
use super::orphans::Orphans;
use super::process::{OnCancel, Output, Running, Spec, Stdout};
use crate::decide::config::Endpoint;
use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// What is asked of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    Run(Spec),
    Connect(Endpoint),
}

/// A question, and how often it may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub ask: Ask,
    /// The most that one try may take.
    pub limit: Duration,
    pub retries: u8,
    /// The time between two tries.
    pub interval: Duration,
}

/// What came back of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A child has ended: its exit code and, where it was captured, its output.
    Ended(i32, &'a [u8]),
    Connected,
    /// Nothing came back, and why.
    Nothing(&'a str),
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Well,
    Failed(String),
    /// This has to be asked, too, before anybody can tell.
    Then(Spec),
}

/// How a question ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `Ok`, or what is wrong.
    pub result: Result<(), String>,
    pub tries: u32,
    pub time: Duration,
}

/// Who knows what the answers mean.
pub trait Judge {
    fn judge(&mut self, question: usize, answer: Answer<'_>) -> Step;
    /// A question has its finding: whether the others are still worth waiting for.
    fn found(&mut self, question: usize, finding: &Finding) -> ControlFlow<()>;
}

/// The job was cancelled while it asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

/// Asks everything at once and gives the findings, in the order of the questions; `None` for those that the judge did
/// not wait for. When it returns, nothing that was started for it runs any more.
pub fn ask_all(
    (inbox, log): (&mut Inbox, &Log),
    questions: &[Question],
    deadline: Instant,
    on_cancel: OnCancel,
    judge: &mut impl Judge,
) -> Result<Vec<Option<Finding>>, Cancelled> {
    if on_cancel == OnCancel::Stop && inbox.cancelled().is_some() {
        return Err(Cancelled);
    }
    let orphans = Orphans::adopt();
    let mut round = Round::new(questions, deadline, inbox, log);
    let end = round.run(on_cancel, judge);
    let Round { open, outputs, tries, .. } = round;
    drop(tries);
    drop(orphans);
    // Nobody holds a pipe any more, so what was printed is in the log at once, and before what follows.
    for output in outputs {
        output.within(Duration::from_secs(1));
    }
    end.map(|()| open.into_iter().map(|question| question.finding).collect())
}

/// Where a question stands.
#[derive(Debug)]
struct Open {
    since: Instant,
    tries: u32,
    /// When it is asked (again).
    due: Option<Instant>,
    finding: Option<Finding>,
}

/// Something that was started for one question, or for several that ask the same at the same moment.
#[derive(Debug)]
struct Try {
    members: Vec<usize>,
    limit: Duration,
    until: Instant,
    what: Started,
}

#[derive(Debug)]
enum Started {
    Child(Running, Stdout),
    Connection(Receiver<Result<(), String>>),
}

/// All questions, from the first try to the last finding.
#[derive(Debug)]
struct Round<'a> {
    questions: &'a [Question],
    deadline: Instant,
    inbox: &'a mut Inbox,
    log: &'a Log,
    open: Vec<Open>,
    tries: BTreeMap<u64, Try>,
    /// Of children that have ended; somebody that they left behind may hold them open.
    outputs: Vec<Output>,
}

impl<'a> Round<'a> {
    fn new(questions: &'a [Question], deadline: Instant, inbox: &'a mut Inbox, log: &'a Log) -> Self {
        let now = Instant::now();
        let open = |_| Open { since: now, tries: 0, due: Some(now), finding: None };
        let open = questions.iter().map(open).collect();
        Self { questions, deadline, inbox, log, open, tries: BTreeMap::new(), outputs: Vec::new() }
    }

    fn run(&mut self, on_cancel: OnCancel, judge: &mut impl Judge) -> Result<(), Cancelled> {
        while self.open.iter().any(|question| question.finding.is_none()) {
            if self.start_due(judge).is_break() {
                break;
            }
            let woken = self.inbox.wait(self.next_moment());
            let now = Instant::now();
            let flow = match woken {
                Woken::Cancelled if on_cancel == OnCancel::Stop => return Err(Cancelled),
                Woken::Ended(number) => self.ended(number, judge),
                Woken::Deadline if now >= self.deadline => self.give_up(judge),
                Woken::Deadline => self.stop_late(now, judge),
                Woken::Cancelled | Woken::Confirmed => ControlFlow::Continue(()),
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// When something has to be done without an event.
    fn next_moment(&self) -> Instant {
        let tries = self.tries.values().map(|started| started.until);
        let due = self.open.iter().filter_map(|question| question.due);
        tries.chain(due).min().unwrap_or(self.deadline).min(self.deadline)
    }

    /// Starts what is due. Questions that ask the same are asked once, with the longest of their limits.
    fn start_due(&mut self, judge: &mut impl Judge) -> ControlFlow<()> {
        let now = Instant::now();
        let mut groups: Vec<(&'a Ask, Duration, Vec<usize>)> = Vec::new();
        for (index, (open, question)) in self.open.iter_mut().zip(self.questions).enumerate() {
            if open.due.is_none_or(|due| due > now) {
                continue;
            }
            open.due = None;
            open.tries += 1;
            match groups.iter_mut().find(|(ask, ..)| **ask == question.ask) {
                Some((_, limit, members)) => {
                    *limit = question.limit.max(*limit);
                    members.push(index);
                }
                None => groups.push((&question.ask, question.limit, vec![index])),
            }
        }
        for (ask, limit, members) in groups {
            self.start(ask, limit, members, judge)?;
        }
        ControlFlow::Continue(())
    }

    fn start(
        &mut self,
        ask: &Ask,
        limit: Duration,
        members: Vec<usize>,
        judge: &mut impl Judge,
    ) -> ControlFlow<()> {
        let until = Instant::now() + limit;
        let (number, what) = match ask {
            Ask::Connect(endpoint) => connect(endpoint, limit, self.inbox),
            Ask::Run(spec) => match Running::start(spec.clone(), self.inbox, self.log) {
                Ok(running) => (running.number(), Started::Child(running, spec.stdout)),
                Err(error) => return self.answer(&members, Answer::Nothing(&error.to_string()), judge),
            },
        };
        self.tries.insert(number, Try { members, limit, until, what });
        ControlFlow::Continue(())
    }

    fn ended(&mut self, number: u64, judge: &mut impl Judge) -> ControlFlow<()> {
        // One that was stopped says so, too.
        let Some(Try { members, what, .. }) = self.tries.remove(&number) else {
            return ControlFlow::Continue(());
        };
        match what {
            Started::Connection(result) => match result.try_recv() {
                Ok(Ok(())) => self.answer(&members, Answer::Connected, judge),
                Ok(Err(why)) => self.answer(&members, Answer::Nothing(&why), judge),
                Err(_) => self.answer(&members, Answer::Nothing("it could not be asked"), judge),
            },
            Started::Child(running, stdout) => match running.end() {
                Ok((code, output)) if stdout == Stdout::Captured => {
                    let text = output.within(Duration::from_secs(1));
                    self.answer(&members, Answer::Ended(code, &text), judge)
                }
                Ok((code, output)) => {
                    self.outputs.push(output);
                    self.answer(&members, Answer::Ended(code, &[]), judge)
                }
                Err(error) => self.answer(&members, Answer::Nothing(&error.to_string()), judge),
            },
        }
    }

    fn stop_late(&mut self, now: Instant, judge: &mut impl Judge) -> ControlFlow<()> {
        let late: Vec<u64> =
            self.tries.iter().filter(|(_, started)| started.until <= now).map(|(n, _)| *n).collect();
        for number in late {
            // Taken out of the map it is stopped.
            let Some(Try { members, limit, .. }) = self.tries.remove(&number) else { continue };
            let why = format!("no answer within {} s", limit.as_secs());
            self.answer(&members, Answer::Nothing(&why), judge)?;
        }
        ControlFlow::Continue(())
    }

    fn answer(&mut self, members: &[usize], answer: Answer<'_>, judge: &mut impl Judge) -> ControlFlow<()> {
        for index in members.iter().copied() {
            let step = judge.judge(index, answer);
            let (Some(open), Some(question)) = (self.open.get_mut(index), self.questions.get(index)) else {
                continue;
            };
            let result = match step {
                Step::Then(spec) => {
                    self.start(&Ask::Run(spec), question.limit, vec![index], judge)?;
                    continue;
                }
                Step::Failed(_) if open.tries <= u32::from(question.retries) => {
                    open.due = Some(Instant::now() + question.interval);
                    continue;
                }
                Step::Failed(why) => Err(why),
                Step::Well => Ok(()),
            };
            self.found(index, result, judge)?;
        }
        ControlFlow::Continue(())
    }

    fn found(&mut self, index: usize, result: Result<(), String>, judge: &mut impl Judge) -> ControlFlow<()> {
        let Some(open) = self.open.get_mut(index) else { return ControlFlow::Continue(()) };
        let finding = Finding { result, tries: open.tries, time: open.since.elapsed() };
        let flow = judge.found(index, &finding);
        open.due = None;
        open.finding = Some(finding);
        flow
    }

    /// The time of all together is over.
    fn give_up(&mut self, judge: &mut impl Judge) -> ControlFlow<()> {
        self.tries.clear();
        for index in 0..self.open.len() {
            if self.open.get(index).is_some_and(|question| question.finding.is_none()) {
                let why = "no answer within the time of all checks (limits.health)".to_owned();
                let _ = self.found(index, Err(why), judge);
            }
        }
        ControlFlow::Break(())
    }
}

/// Connects on a thread, which tells the inbox. One that was given up ends by itself.
fn connect(endpoint: &Endpoint, limit: Duration, inbox: &mut Inbox) -> (u64, Started) {
    let (number, events, (tell, told)) = (inbox.number(), inbox.sender(), channel());
    let endpoint = endpoint.clone();
    thread::spawn(move || {
        let _ = tell.send(try_addresses(&endpoint, limit));
        events.send(super::inbox::Event::Ended(number))
    });
    (number, Started::Connection(told))
}

/// The first address of a name that accepts is enough, as for any client.
fn try_addresses(endpoint: &Endpoint, limit: Duration) -> Result<(), String> {
    let addresses =
        (endpoint.host(), endpoint.port()).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(_) => return Ok(()),
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    Err(why)
}

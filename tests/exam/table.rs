//! A row of the exam: what is injected, what has to come of it, and what was seen.

use crate::bench::{Bench, Kind};

/// Panics where something else comes of it; returns what was seen to happen.
pub type Scenario = Box<dyn Fn(&mut Bench) -> String + Send + Sync>;

pub struct Row {
    pub name: String,
    pub injected: String,
    pub expected: String,
    pub on: Kind,
    pub scenario: Scenario,
}

/// A row that is written by hand: a file in `rows/` has one.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    pub injected: &'static str,
    pub expected: &'static str,
    pub on: Kind,
    pub scenario: fn(&mut Bench) -> String,
}

impl Written {
    pub fn row(self, name: &str) -> Row {
        Row {
            name: name.to_owned(),
            injected: self.injected.to_owned(),
            expected: self.expected.to_owned(),
            on: self.on,
            scenario: Box::new(self.scenario),
        }
    }
}

/// How a row ended.
#[derive(Debug, Clone)]
pub struct Seen {
    pub survived: bool,
    pub text: String,
    pub seconds: f32,
}

pub fn line(row: &Row, seen: &Seen) -> String {
    let mark = if seen.survived { "survived" } else { "FAILED" };
    format!(
        "{mark:8} {:5.1} s | {} | {} | {} | {}",
        seen.seconds,
        row.name,
        row.injected,
        row.expected,
        seen.text.replace('\n', " / ")
    )
}

//! The exam: faults in real parts, over real ssh. `./test exam` prints what was injected, what had to come of it and what
//! was seen, and a last line with how many were survived.
//!
//!     ./test exam                              one row per state, the failure injections, the ways back, the races
//!     ./test exam --all                        every fault at every state of every verb, and all of that
//!     ./test exam --random [SECONDS] [SEED]    verbs and faults by chance
//!     ./test exam WORD…                        the rows in whose name or fault a word stands; `--all WORD…`, too
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used
)]

#[path = "exam/bench.rs"]
mod bench;
#[path = "exam/collector.rs"]
mod collector;
mod host;
#[path = "exam/process.rs"]
mod process;
#[path = "exam/product.rs"]
mod product;
#[path = "exam/random.rs"]
mod random;
#[path = "exam/rows/mod.rs"]
mod rows;
#[path = "exam/table.rs"]
mod table;
#[path = "exam/trap.rs"]
mod trap;

use bench::Bench;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;
use table::{Row, Seen};

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--quiet").collect();
    if words.first().is_some_and(|word| word == "--random") {
        return by_chance(&words);
    }
    let all = words.iter().position(|word| word == "--all").map(|at| words.remove(at)).is_some();
    let mut rows = if all { product::all() } else { product::states() };
    rows.extend(rows::all());
    rows.retain(|row| words.iter().all(|word| row.name.contains(word) || row.injected.contains(word)));
    let (survived, total) = sit(rows);
    println!("survived {survived}/{total}");
    if survived == total && total > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The seed is said first, so that a run that failed can be had again.
fn by_chance(words: &[String]) -> ExitCode {
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let (seconds, seed) = (number(1).unwrap_or(300), number(2).unwrap_or(now.as_secs()));
    println!("random for {seconds} s with seed {seed}: ./test exam --random {seconds} {seed}");
    let (steps, hit) = random::run(std::time::Duration::from_secs(seconds), seed);
    println!("seed {seed}: {steps} steps, in {hit} of them something happened");
    println!("survived {steps}/{steps}");
    ExitCode::SUCCESS
}

/// As many hosts at once as there may be, each kept for the next row that wants one of its kind.
fn sit(mut rows: Vec<Row>) -> (usize, usize) {
    rows.sort_by_key(|row| row.on);
    rows.reverse();
    let (queue, ended) = (Mutex::new(rows), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..host::places() {
            scope.spawn(|| {
                let mut kept: Option<Bench> = None;
                while let Some(row) = next(&queue, kept.as_ref()) {
                    let seen = examine(&row, &mut kept);
                    println!("{}", table::line(&row, &seen));
                    ended.lock().unwrap().push(seen.survived);
                }
            });
        }
    });
    let ended = ended.into_inner().unwrap();
    (ended.iter().filter(|survived| **survived).count(), ended.len())
}

/// One for the host that is there, else any.
fn next(queue: &Mutex<Vec<Row>>, kept: Option<&Bench>) -> Option<Row> {
    let mut queue = queue.lock().unwrap();
    let fits = kept.and_then(|bench| queue.iter().rposition(|row| row.on == bench.kind));
    fits.map(|at| queue.remove(at)).or_else(|| queue.pop())
}

fn examine(row: &Row, kept: &mut Option<Bench>) -> Seen {
    let since = Instant::now();
    let bench = kept.take().filter(|bench| bench.kind == row.on);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let mut bench = bench.unwrap_or_else(|| Bench::boot(row.on));
        let text = (row.scenario)(&mut bench);
        (text, Some(bench).filter(Bench::is_clean))
    }));
    let seconds = since.elapsed().as_secs_f32();
    match ended {
        Ok((text, bench)) => {
            *kept = bench;
            Seen { survived: true, text, seconds }
        }
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Seen { survived: false, text: said.unwrap_or_default(), seconds }
        }
    }
}

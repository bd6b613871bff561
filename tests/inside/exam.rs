//! The exam: makes the rows, runs them side by side, and prints the table.

use crate::bench::{Bench, workplace};
use crate::damage;
use crate::disk;
use crate::product::{self, Case};
use crate::scenario::SCENARIOS;
use crate::sweep;
use crate::wire::Call;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

pub fn main(words: &[String]) -> ExitCode {
    let began = Instant::now();
    let place = workplace();
    let template = installed(&place);
    let chosen = |text: &str| {
        let mut words = words.iter().filter(|word| !word.starts_with('-')).peekable();
        words.peek().is_none() || words.any(|word| text.contains(word.as_str()))
    };
    let made = in_parallel(&SCENARIOS, |scenario| {
        let now = Instant::now();
        let cases = product::cases(scenario, &template);
        eprintln!("{}: {} rows, {} ms", scenario.name, cases.len(), now.elapsed().as_millis());
        cases
    });
    let mut all: Vec<Case> = made.into_iter().flatten().collect();
    let without = product::without_a_row(&all);
    assert!(without.is_empty(), "states without a row: {without:?}");
    let whole = std::env::var("INSIDE").is_ok_and(|value| value == "all");
    let swept =
        in_parallel(&sweep::chosen(whole), |(scenario, which)| sweep::cases(scenario, &template, *which));
    all.extend(swept.into_iter().flatten());
    all.extend(damage::cases());
    let lost = in_parallel(&disk::chosen(whole), |scenario| disk::cases(scenario, &template));
    all.extend(lost.into_iter().flatten());
    let made = all.len();
    let cases: Vec<Case> = all.into_iter().filter(|case| chosen(&case.to_string())).collect();
    eprintln!("{} of {made} rows, made in {} s", cases.len(), began.elapsed().as_secs());
    let done = AtomicUsize::new(0);
    let results = in_parallel(&cases, |case| {
        let result = catch_unwind(AssertUnwindSafe(|| product::run(case, &template)));
        let result =
            result.unwrap_or_else(|why| Err(why.downcast_ref::<String>().cloned().unwrap_or_default()));
        if let Err(why) = &result {
            eprintln!("{case}: FAILED: {why}");
        }
        let done = 1 + done.fetch_add(1, Ordering::Relaxed);
        if done.is_multiple_of(500) {
            eprintln!("{done} of {} rows, {} s", cases.len(), began.elapsed().as_secs());
        }
        result
    });
    let mut survived = 0;
    for (case, result) in cases.iter().zip(&results) {
        match result {
            Ok(seen) => {
                survived += 1;
                println!("{case} | {} | {seen}", case.expected.join(" or "));
            }
            Err(why) => println!("{case} | {} | FAILED: {why}", case.expected.join(" or ")),
        }
    }
    let failed = cases.len() - survived;
    println!("{survived}/{} survived in {} s", cases.len(), began.elapsed().as_secs());
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {survived} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A host that has deployed once: there is something to go back to.
fn installed(place: &std::path::Path) -> Bench {
    std::os::unix::fs::symlink("bin/inside", place.join("pid1")).unwrap();
    let mut template = Bench::install(place);
    template.push(2);
    template.boot();
    template.call(&Call::Idle).unwrap();
    let answer = template.ssh("switch").unwrap();
    assert_eq!(answer.code, 0, "{}", answer.err);
    template.call(&Call::Idle).unwrap();
    template.power_cut();
    template
}

/// In the order of what was given.
fn in_parallel<T: Sync, R: Send>(items: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get()) * 3;
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    let result = act(item);
                    done.lock().unwrap().push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

//! What every target shares: its seeds, the proof that it gets beyond refusals, and a mistake where one is wanted.

use libfuzzer_sys::fuzzer_mutate;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;
use std::{env, fs, io, process};

/// Whether this build has a mistake in front of each parser. A target that does not find it would find no other.
pub const PLANTED: bool = cfg!(feature = "planted");

/// The paths of the product behind every refusal. A target has to reach each of its own from its seeds alone.
#[derive(Debug)]
pub struct Paths(pub &'static [&'static str]);

impl Paths {
    /// One input came this far.
    pub fn reached(&self, path: &str) {
        assert!(self.0.contains(&path), "{path} is not announced");
        if *SHOWN {
            eprintln!("reached: {path}");
        }
    }
}

/// Off while it fuzzes, for speed.
static SHOWN: LazyLock<bool> = LazyLock::new(|| env::var_os("FUZZ_SHOW_PATHS").is_some());

/// Before the first input, what `fuzz/run` asks for: the seeds as files, or the paths that they have to reach.
pub fn begin(paths: &Paths, seeds: fn() -> Vec<Vec<u8>>) {
    if let Some(directory) = env::var_os("FUZZ_WRITE_SEEDS") {
        let done = write(Path::new(&directory), &seeds());
        process::exit(done.map_or_else(
            |error| {
                eprintln!("{error}");
                1
            },
            |()| 0,
        ));
    }
    if *SHOWN {
        paths.0.iter().for_each(|path| eprintln!("path: {path}"));
    }
}

/// `DIRECTORY/seeds/NUMBER`, and `DIRECTORY/words`: what a grammar is made of, which chance would take long to spell.
fn write(directory: &Path, seeds: &[Vec<u8>]) -> io::Result<()> {
    fs::create_dir_all(directory.join("seeds"))?;
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(directory.join("seeds").join(format!("{number:04}")), seed)?;
    }
    let mut words = BTreeMap::<&[u8], usize>::new();
    for word in seeds
        .iter()
        .flat_map(|seed| seed.split(|byte| !byte.is_ascii_alphanumeric() && !b"-_".contains(byte)))
    {
        if (3..=24).contains(&word.len()) {
            *words.entry(word).or_default() += 1;
        }
    }
    let mut words: Vec<_> = words.into_iter().collect();
    words.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    let lines = words.iter().take(200).map(|(word, _)| format!("\"{}\"\n", word.escape_ascii()));
    fs::write(directory.join("words"), lines.collect::<String>())
}

/// The items of a list, each with its end.
pub fn pieces(bytes: &[u8], end: u8) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|byte| *byte == end).map(<[u8]>::to_vec).collect()
}

/// Mutates one line of a text, or one number in it, and every fourth time the whole of it: in a long text a change
/// that fits is rare.
pub fn in_one_line(data: &mut [u8], size: usize, max_size: usize, chance: u32) -> usize {
    if chance % 4 == 1
        && let Some(text) = with_another_number(&data[..size], chance / 4)
        && text.len() <= max_size
    {
        data[..text.len()].copy_from_slice(&text);
        return text.len();
    }
    let lines: Vec<usize> = data[..size].split_inclusive(|byte| *byte == b'\n').map(<[u8]>::len).collect();
    let which = usize::try_from(chance / 4).unwrap_or_default() % lines.len().max(1);
    let start: usize = lines.iter().take(which).sum();
    let end = start + lines.get(which).copied().unwrap_or_default();
    let rest = data[end..size].to_vec();
    let room = max_size.saturating_sub(start + rest.len());
    if chance.is_multiple_of(4) || room < end - start || room == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let length = fuzzer_mutate(&mut data[start..], end - start, room);
    data[start + length..][..rest.len()].copy_from_slice(&rest);
    start + length + rest.len()
}

fn with_another_number(text: &[u8], chance: u32) -> Option<Vec<u8>> {
    let others =
        ["0", "1", "9", "15", "61", "256", "3600", "65536", "86401", "4294967296", "18446744073709551616"];
    let chance = usize::try_from(chance).unwrap_or_default();
    let runs = text.chunk_by(|one, next| one.is_ascii_digit() == next.is_ascii_digit());
    let mut runs: Vec<&[u8]> = runs.collect();
    let numbers = runs.iter().enumerate().filter(|(_, run)| run.first().is_some_and(u8::is_ascii_digit));
    let numbers: Vec<usize> = numbers.map(|(at, _)| at).collect();
    let which = numbers.get(chance % numbers.len().max(1))?;
    *runs.get_mut(*which)? = others.get(chance / 256 % others.len())?.as_bytes();
    Some(runs.concat())
}

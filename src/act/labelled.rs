//! Lines of what others print, which may have no end: one of several children's behind a label, and one that is looked for.

use super::log::Log;
use std::io::{BufRead, BufReader, Read};

/// What a log holds of the output of one labelled child.
const LIMIT: usize = 64 << 10;

/// A longer line comes in parts.
const LONGEST_LINE: u64 = 4096;

/// Copies line by line, as they come, until the end. The label tells them from nixgate's own lines.
pub fn copy_lines(from: impl Read, label: &str, log: &Log) {
    let (mut from, mut line) = (BufReader::new(from), Vec::new());
    let (mut left, mut dropped) = (LIMIT, 0);
    while let Ok(length @ 1..) = from.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
        if length > left {
            (left, dropped) = (0, dropped + length);
        } else {
            left -= length;
            let text = String::from_utf8_lossy(&line);
            log.write(format!("{label}: {}\n", text.trim_end_matches('\n')).as_bytes());
        }
        line.clear();
    }
    if dropped > 0 {
        log.line(format_args!("{label}: {dropped} more bytes of its output are left out"));
    }
}

/// Whether one line of it is exactly this. Others may be as long as they like: none is kept.
pub fn has_line(from: impl Read, wanted: &[u8]) -> bool {
    let mut from = BufReader::new(from);
    // How many bytes of this line are as wanted, while all of them are.
    let mut same = Some(0);
    loop {
        let Ok(part) = from.fill_buf() else { return false };
        if part.is_empty() {
            return same == Some(wanted.len());
        }
        for byte in part {
            if *byte != b'\n' {
                same = same.filter(|at| wanted.get(*at) == Some(byte)).map(|at| at + 1);
            } else if same.replace(0) == Some(wanted.len()) {
                return true;
            }
        }
        let length = part.len();
        from.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::repeat;

    #[test]
    fn a_line_is_found_whole_and_nowhere_else_whatever_stands_around_it() {
        let has = |text: &str| has_line(text.as_bytes(), b"said so");
        for yes in ["said so", "said so\n", "a\nsaid so\nb\n", "\n\nsaid so"] {
            assert!(has(yes), "{yes:?}");
        }
        for no in ["", "\n", "said", "said so ", " said so", "said so it is\n", "said\nso\n", "ssaid so\n"] {
            assert!(!has(no), "{no:?}");
        }
        let endless = repeat(b's').take(1 << 22);
        assert!(has_line(endless.chain(&b"\nsaid so\n"[..]), b"said so"));
    }
}

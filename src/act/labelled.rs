//! The output of one of several children that run at once: each line behind a label, and not without end.

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

//! Text that others wrote, made harmless: for log lines and for the stream to a client's terminal.

use std::borrow::Cow;

/// One printable line: every byte outside 0x20..0x7e, quotes and backslashes become `\xNN`. At most `limit`
/// bytes come out; a cut never splits an escape.
pub fn escaped(bytes: &[u8], limit: usize) -> String {
    let mut out = String::new();
    for &byte in bytes {
        let plain = matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\';
        let piece = if plain { char::from(byte).to_string() } else { format!("\\x{byte:02x}") };
        if out.len() + piece.len() > limit {
            break;
        }
        out += &piece;
    }
    out
}

/// A stream on its way to a terminal. Build logs, commit messages and derivation names are written by others
/// and can carry escape sequences (OSC 52, CSI 5n, raw C1 bytes) or text that runs backwards.
///
/// Newline, tab and printable UTF-8 pass; everything else is left out. A character that is cut by the border
/// between two pieces is held back until the rest of it comes.
#[derive(Debug, Default)]
pub struct Harmless {
    held: Vec<u8>,
}

impl Harmless {
    /// Nearly all of it is good already, and is given back as it is.
    pub fn filter<'t>(&mut self, piece: &'t [u8]) -> Cow<'t, str> {
        if let (true, Ok(text)) = (self.held.is_empty(), std::str::from_utf8(piece))
            && harmless_run(text).len() == text.len()
        {
            return Cow::Borrowed(text);
        }
        Cow::Owned(self.filtered(piece))
    }

    fn filtered(&mut self, piece: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        let mut out = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            push_harmless(&mut out, chunk.valid());
            if chunks.peek().is_none() && is_cut(chunk.invalid()) {
                self.held = chunk.invalid().to_vec();
            }
        }
        out
    }
}

fn push_harmless(out: &mut String, text: &str) {
    let mut rest = text;
    while !rest.is_empty() {
        let run = harmless_run(rest);
        out.push_str(run);
        let mut more = rest.get(run.len()..).unwrap_or_default().chars();
        // It stands there because it is not harmless.
        more.next();
        rest = more.as_str();
    }
}

/// What a text begins with, up to the first character that does not pass. Logs have many lines, and few of those.
fn harmless_run(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut end = 0;
    loop {
        let rest = bytes.get(end..).unwrap_or_default();
        end += plain_bytes(rest);
        match text.get(end..).and_then(|rest| rest.chars().next()) {
            Some(c) if is_harmless(c) => end += c.len_utf8(),
            _ => return text.get(..end).unwrap_or_default(),
        }
    }
}

/// How many bytes of plain ASCII it begins with. A log has millions of them, so eight are looked at in one go.
fn plain_bytes(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let plain =
        |word: &[u8; 8]| is_printable(u64::from_ne_bytes(*word)) || word.iter().copied().all(is_plain);
    let whole = 8 * words.iter().take_while(|word| plain(word)).count();
    whole + bytes.iter().skip(whole).take_while(|byte| is_plain(**byte)).count()
}

/// Whether each of the eight bytes is 0x20 to 0x7e. A difference below zero borrows into the highest bit; that a borrow
/// goes on into the next byte only makes more of them look suspicious.
fn is_printable(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let not_delete = word ^ (ONES * 0x7f);
    let delete = not_delete.wrapping_sub(ONES) & !not_delete;
    (word | control | delete) & (ONES * 0x80) == 0
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e | b'\n' | b'\t')
}

/// Not a whole character yet, but the beginning of one.
fn is_cut(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

fn is_harmless(c: char) -> bool {
    let reorders =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    matches!(c, '\n' | '\t') || !(c.is_control() || reorders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_stays_one_line_and_one_field() {
        assert_eq!(escaped(b"x\nNov  1 sudo: \"\\\x1b\xff", 100), "x\\x0aNov  1 sudo: \\x22\\x5c\\x1b\\xff");
        assert_eq!(escaped(b"ab\xffcd", 5), "ab");
        assert_eq!(escaped(b"ab\xffcd", 6), "ab\\xff");
    }

    #[test]
    fn a_stream_keeps_text_and_loses_what_moves_a_terminal() {
        let mut stream = Harmless::default();
        assert_eq!(stream.filter("é ‘ok’\t1\n".as_bytes()), "é ‘ok’\t1\n");
        assert_eq!(stream.filter(b"\x1b]0;title\x07\x1b[31mred\r\n\x00\x7f"), "]0;title[31mred\n");
        assert_eq!(stream.filter(b"raw\x9b5n"), "raw5n");
        assert_eq!(stream.filter("c1\u{9b}5n\u{202e}x\u{2028}".as_bytes()), "c15nx");
    }

    #[test]
    fn it_is_the_same_as_looking_at_each_character_and_never_longer() {
        let texts = ["", "plain\n", "é", "a\u{202e}é\u{7f}\u{80}b\t\u{10ffff}", "\u{1b}[0m", "x\ré\u{9b}\n"];
        for text in texts {
            let mut one_by_one = String::new();
            one_by_one.extend(text.chars().filter(|c| is_harmless(*c)));
            assert_eq!(Harmless::default().filter(text.as_bytes()), one_by_one);
            assert!(one_by_one.len() <= text.len());
        }
    }

    #[test]
    fn no_byte_hides_among_seven_others() {
        for byte in 0..=u8::MAX {
            for place in 0..16 {
                let mut text = *b"0123456789abcdef";
                text[place] = byte;
                assert_eq!(
                    plain_bytes(&text),
                    if is_plain(byte) { 16 } else { place },
                    "{byte:#x} at {place}"
                );
                text = [byte; 16];
                assert_eq!(plain_bytes(&text), if is_plain(byte) { 16 } else { 0 }, "{byte:#x}");
            }
        }
    }

    #[test]
    fn a_character_that_two_packets_share_arrives_whole() {
        let mut stream = Harmless::default();
        assert_eq!(stream.filter(b"a\xe2\x80"), "a");
        assert_eq!(stream.filter(b"\x98b"), "‘b");
        assert_eq!(stream.filter(b"\xe2\x80"), "");
        assert_eq!(stream.filter(b"x"), "x");
        // The two halves of U+009B, and of an escape byte that hides behind a broken character.
        assert_eq!(stream.filter(b"\xc2"), "");
        assert_eq!(stream.filter(b"\x9b31m\xf0\x9f\x1b["), "31m[");
    }
}

//! Text that others wrote, made harmless: for log lines and for the stream to a client's terminal.

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
    pub fn filter(&mut self, piece: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        let mut out = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            out.extend(chunk.valid().chars().filter(|c| is_harmless(*c)));
            if chunks.peek().is_none() && is_cut(chunk.invalid()) {
                self.held = chunk.invalid().to_vec();
            }
        }
        out
    }
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

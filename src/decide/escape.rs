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

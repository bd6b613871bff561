//! How the gate was started, and which bytes are therefore the request.
//!
//! argv decides, never the environment: sshd runs a login shell a second time for `~/.ssh/rc` with
//! `SSH_ORIGINAL_COMMAND` already set, and Tailscale's clients can inject that variable.

/// What the start asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// Bytes still to be parsed, and who vouches for the environment they came with.
    Request { bytes: &'a [u8], channel: Channel },
    /// An interactive login, or no command at all: the usage text, never a shell.
    Interactive,
    /// A form that no known caller uses.
    Unknown,
}

/// How the request arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// `SSH_ORIGINAL_COMMAND`: sshd ran its ForceCommand and wrote the environment that describes the caller.
    Forced,
    /// The `-c` argument: whoever ran the login shell may have set any variable.
    LoginShell,
}

/// What the environment said besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injected {
    No,
    /// There was a `SSH_ORIGINAL_COMMAND` where only argv counts; it was not looked at.
    Ignored,
}

/// One row per form; the first that fits decides.
pub fn read<'a>(argv: &[&'a [u8]], original: Option<&'a [u8]>) -> (Start<'a>, Injected) {
    let forced = match original {
        None | Some(b"") => Start::Interactive,
        Some(bytes) => Start::Request { bytes, channel: Channel::Forced },
    };
    match argv {
        // Linux before 5.18 starts programs with argc 0; later ones make it one empty argument.
        [] | [b"", ..] => (Start::Unknown, injected(original)),
        [[b'-', ..]] | [_, b"-l"] => (Start::Interactive, injected(original)),
        [_] => (forced, Injected::No),
        [_, b"-c", command] if is_the_gate(command) => (forced, Injected::No),
        [_, b"-c", b""] => (Start::Interactive, injected(original)),
        [_, b"-c", bytes] => (Start::Request { bytes, channel: Channel::LoginShell }, injected(original)),
        _ => (Start::Unknown, injected(original)),
    }
}

fn injected(original: Option<&[u8]>) -> Injected {
    if original.is_some() { Injected::Ignored } else { Injected::No }
}

/// The forced command as sshd passes it on: one absolute path without spaces that ends in `/nixgate`.
fn is_the_gate(command: &[u8]) -> bool {
    command.starts_with(b"/") && command.ends_with(b"/nixgate") && command.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOC: Option<&[u8]> = Some(b"switch");
    const FORCED: Start = Start::Request { bytes: b"switch", channel: Channel::Forced };

    fn shell(bytes: &[u8]) -> Start<'_> {
        Start::Request { bytes, channel: Channel::LoginShell }
    }

    #[test]
    fn forced_command_through_another_shell() {
        let path: &[&[u8]] = &[b"/usr/bin/nixgate"];
        assert_eq!(read(path, SOC), (FORCED, Injected::No));
        assert_eq!(read(path, None), (Start::Interactive, Injected::No));
        assert_eq!(read(path, Some(b"")), (Start::Interactive, Injected::No));
    }

    #[test]
    fn forced_command_with_the_gate_as_login_shell() {
        for forced in [&b"/usr/bin/nixgate"[..], b"/run/current-system/sw/bin/nixgate", b"/nixgate"] {
            let argv: &[&[u8]] = &[b"nixgate", b"-c", forced];
            assert_eq!(read(argv, SOC), (FORCED, Injected::No));
            assert_eq!(read(argv, None), (Start::Interactive, Injected::No));
            assert_eq!(read(argv, Some(b"")), (Start::Interactive, Injected::No));
        }
    }

    #[test]
    fn what_only_looks_like_the_forced_command_is_a_request() {
        for other in [
            &b"nixgate"[..],
            b"usr/bin/nixgate",
            b"/usr/bin/nixgate ",
            b"/usr/bin/env /usr/bin/nixgate",
            b"/usr/bin/nixgate\n",
            b"/usr/\t/nixgate",
            b"/usr/\xff/nixgate",
            b"/usr/bin/xnixgate",
            b"/usr/bin/nixgate/",
        ] {
            assert_eq!(read(&[b"nixgate", b"-c", other], SOC), (shell(other), Injected::Ignored));
        }
    }

    #[test]
    fn the_second_start_for_ssh_rc_does_not_act() {
        let rc: &[u8] = b"/bin/sh /home/deploy/.ssh/rc";
        assert_eq!(read(&[b"nixgate", b"-c", rc], SOC), (shell(rc), Injected::Ignored));
        assert!(super::super::request::Request::parse(rc).is_err());
    }

    #[test]
    fn tailscale_and_su_ask_with_argv() {
        assert_eq!(read(&[b"/usr/bin/nixgate", b"-c", b"switch"], None), (shell(b"switch"), Injected::No));
        assert_eq!(read(&[b"-nixgate", b"-c", b"true"], None), (shell(b"true"), Injected::No));
        let injected = read(&[b"/usr/bin/nixgate", b"-c", b"status"], SOC);
        assert_eq!(injected, (shell(b"status"), Injected::Ignored));
        let sftp: &[u8] = b"/usr/bin/tailscaled be-child sftp";
        assert_eq!(read(&[b"-nixgate", b"-c", sftp], None), (shell(sftp), Injected::No));
    }

    #[test]
    fn an_interactive_login_is_no_request() {
        for argv in
            [&[b"/usr/bin/nixgate" as &[u8], b"-l"][..], &[b"-nixgate"], &[b"-"], &[b"nixgate", b"-c", b""]]
        {
            assert_eq!(read(argv, None), (Start::Interactive, Injected::No));
            assert_eq!(read(argv, SOC), (Start::Interactive, Injected::Ignored));
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        let forms: [&[&[u8]]; 9] = [
            &[],
            &[b""],
            &[b"", b"-c", b"switch"],
            &[b"nixgate", b""],
            &[b"nixgate", b"switch"],
            &[b"nixgate", b"-c"],
            &[b"nixgate", b"-c", b"switch", b"x"],
            &[b"nixgate", b"-l", b"-c", b"switch"],
            &[b"nixgate", b"--help"],
        ];
        for argv in forms {
            assert_eq!(read(argv, None), (Start::Unknown, Injected::No));
            assert_eq!(read(argv, SOC), (Start::Unknown, Injected::Ignored));
        }
    }
}

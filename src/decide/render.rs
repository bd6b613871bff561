//! The files that a host needs, from the configuration: one rendering for every installer and test.

use super::config::Config;
use super::privileged::{Platform, Program, table};
use std::fmt::Write as _;

/// A file below the root, or a symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    pub path: &'static str,
    pub content: Content,
    pub mode: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Text(String),
    Link(&'static str),
}

/// Every file.
pub fn everything(config: &Config, platform: Platform) -> Vec<Rendered> {
    let text = |path, mode, text| Rendered { path, content: Content::Text(text), mode };
    let link = |path, to| Rendered { path, content: Content::Link(to), mode: 0o777 };
    vec![
        text("etc/sudoers.d/nixgate", 0o440, sudoers(config, platform)),
        text("etc/ssh/sshd_config.d/nixgate.conf", 0o644, sshd(platform)),
        text(
            "etc/systemd/system/nixgate.socket",
            0o644,
            socket("job.sock", "jobs: fetch, switch, test, boot, rollback, attach", 64),
        ),
        text(
            "etc/systemd/system/nixgate-control.socket",
            0o644,
            socket("control.sock", "control: confirm, cancel, status", 32),
        ),
        text("etc/systemd/system/nixgate-job@.service", 0o644, job(platform)),
        // A socket with Accept=yes starts the template of its own name; both are this one.
        link("etc/systemd/system/nixgate@.service", "nixgate-job@.service"),
        link("etc/systemd/system/nixgate-control@.service", "nixgate-job@.service"),
        text("etc/systemd/system/nixgate-recover.service", 0o644, recover(platform)),
        text("etc/tmpfiles.d/nixgate.conf", 0o644, TMPFILES.to_owned()),
        text("etc/sysusers.d/nixgate.conf", 0o644, sysusers(platform)),
    ]
}

/// `,` `:` `=` and `\` have a meaning in sudoers, and sudo-rs refuses a bare `=`.
fn escaped(word: &str) -> String {
    word.chars().fold(String::new(), |mut out, c| {
        if matches!(c, ',' | ':' | '=' | '\\') {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

/// One rule per row, with every argument written out: no wildcard, no alias, nothing from a request.
pub fn sudoers(config: &Config, platform: Platform) -> String {
    let mut out = String::from(
        "# nixgate: what account nixgate may run as root. Made by `nixgatectl render`; do not edit.\n\
         # Every line is one exact command. It is no wall against a hijacked job (see SECURITY.md);\n\
         # it keeps the interface small and every step in the log.\n",
    );
    let _ = writeln!(out, "Defaults:nixgate secure_path = {}", platform.bin());
    for (row, argv) in table(config, platform) {
        let words: Vec<String> = argv.iter().map(|word| escaped(word)).collect();
        let _ = writeln!(out, "# {row}{}", if row.is_frozen() { " (frozen)" } else { "" });
        let _ = writeln!(out, "nixgate ALL = (root) NOPASSWD: {}", words.join(" "));
    }
    out
}

/// Each option has its reason in docs/sshd.md. Options are written out even where another implies them,
/// because `DisableForwarding` was incomplete before OpenSSH 10.
pub fn sshd(platform: Platform) -> String {
    format!(
        "# nixgate: the account deploy gets the gate and nothing else. Made by `nixgatectl render`; do not edit.\n\
         # Needed globally, where a Match block cannot say it: PermitUserEnvironment no (the default).\n\
         Match User deploy\n\
         \x20   AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u\n\
         \x20   AuthenticationMethods publickey\n\
         \x20   ForceCommand {gate}\n\
         \x20   PermitTTY no\n\
         \x20   DisableForwarding yes\n\
         \x20   AllowTcpForwarding no\n\
         \x20   AllowStreamLocalForwarding no\n\
         \x20   AllowAgentForwarding no\n\
         \x20   X11Forwarding no\n\
         \x20   PermitTunnel no\n\
         \x20   GatewayPorts no\n\
         \x20   PermitUserRC no\n\
         \x20   AcceptEnv NIXGATE_ACCEPTS_NOTHING\n\
         \x20   ExposeAuthInfo yes\n\
         \x20   MaxSessions 2\n\
         \x20   ClientAliveInterval 15\n\
         \x20   ClientAliveCountMax 4\n\
         \x20   LogLevel VERBOSE\n\
         \x20   Banner none\n\
         Match all\n",
        gate = platform.path(Program::Nixgate)
    )
}

/// Before systemd 255, 200 connections within two seconds would shut the socket until an operator resets it; what
/// bounds a flood is the number of connections.
fn socket(name: &str, what: &str, connections: u32) -> String {
    format!(
        "[Unit]\n\
         Description=nixgate {what}\n\
         \n\
         [Socket]\n\
         ListenSequentialPacket=/run/nixgate/{name}\n\
         SocketUser=root\n\
         SocketGroup=deploy\n\
         SocketMode=0660\n\
         DirectoryMode=0755\n\
         Accept=yes\n\
         MaxConnections={connections}\n\
         TriggerLimitIntervalSec=0\n\
         \n\
         [Install]\n\
         WantedBy=sockets.target\n"
    )
}

/// The X- lines keep switch-to-configuration from ending the job that runs it; in the wrong section they do
/// nothing. A stopped job is killed, because an end by SIGTERM counts as a good one and would start no
/// recovery. There is no sandbox: it would be inherited by what sudo starts, and `--set` would fail in it.
fn job(platform: Platform) -> String {
    format!(
        "[Unit]\n\
         Description=nixgate job (%i)\n\
         CollectMode=inactive-or-failed\n\
         OnFailure=nixgate-recover.service\n\
         X-StopOnRemoval=false\n\
         \n\
         [Service]\n\
         Type=exec\n\
         User=nixgate\n\
         Group=nixgate\n\
         ExecStart={job} serve --platform {platform}\n\
         StandardInput=socket\n\
         StandardOutput=journal\n\
         StandardError=journal\n\
         UMask=0027\n\
         WorkingDirectory=/\n\
         OOMScoreAdjust=-500\n\
         KillSignal=SIGKILL\n\
         X-RestartIfChanged=false\n\
         X-StopIfChanged=false\n",
        job = platform.path(Program::NixgateJob),
        platform = platform.as_str()
    )
}

/// Finishes or undoes what a dead job left. It never orders itself before sshd. Its start is over as soon as it
/// runs: as a oneshot it would hold up multi-user.target, which the switch-to-configuration that it starts to
/// revert waits for.
fn recover(platform: Platform) -> String {
    format!(
        "[Unit]\n\
         Description=nixgate recovery\n\
         After=nix-daemon.socket systemd-tmpfiles-setup.service\n\
         StartLimitIntervalSec=0\n\
         X-StopOnRemoval=false\n\
         \n\
         [Service]\n\
         Type=exec\n\
         User=nixgate\n\
         Group=nixgate\n\
         ExecStart={job} recover --platform {platform}\n\
         StandardOutput=journal\n\
         StandardError=journal\n\
         UMask=0027\n\
         WorkingDirectory=/\n\
         X-RestartIfChanged=false\n\
         X-StopIfChanged=false\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        job = platform.path(Program::NixgateJob),
        platform = platform.as_str()
    )
}

/// The home of deploy is /var/empty: it owns nothing, and a missing home makes sshd print to every caller.
const TMPFILES: &str = "\
# nixgate. Made by `nixgatectl render`; do not edit.
d /var/empty 0555 root root -
d /run/nixgate 0755 root root -
d /var/log/nixgate 0750 root nixgate -
d /var/lib/nixgate 0750 nixgate nixgate -
d /var/lib/nixgate/roots 0750 nixgate nixgate -
d /var/lib/nixgate/jobs 0750 nixgate nixgate -
d /var/lib/nixgate/audit 0750 nixgate nixgate -
d /var/lib/nixgate/keys 0700 nixgate nixgate -
";

fn sysusers(platform: Platform) -> String {
    format!(
        "# nixgate. Made by `nixgatectl render`; do not edit.\n\
         u deploy - \"Asks nixgate for deploys\" /var/empty {gate}\n\
         u nixgate - \"Does the deploys of nixgate\" /var/lib/nixgate\n",
        gate = platform.path(Program::Nixgate)
    )
}

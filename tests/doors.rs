//! Every door that leads to the gate and every way around it, with the real programs: OpenSSH, Dropbear, su, the start
//! forms of Tailscale SSH, and clients from scp to nix. The promise is the same everywhere: a canonical request reaches
//! the job once; all else ends with 64 or the protocol's own refusal; what starts the gate leaves one log line; nothing
//! of account deploy is left behind.
#![cfg(feature = "host")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout // what was sent
)]

mod attacks;
mod host;

use attacks::{Row, corpus};
use host::{Host, LIMIT};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

const USAGE: &str = "usage";
const PASSED: &str = "passed";
const REFUSED: &str = "refused";
const PROBE: &str = "probe";

// ---- doors ----

struct Door {
    name: &'static str,
    opened: &'static str,
    /// `{}` is the request.
    ask: &'static str,
    /// Without a request.
    bare: &'static str,
    /// The key that the gate is told of.
    identity: Identity,
    /// sshd's own start of the login shell for `~/.ssh/rc`, before the request.
    rc: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Identity {
    Key,
    None,
}

const DOORS: [Door; 9] = [
    Door {
        name: "ForceCommand, the gate being the login shell",
        opened: "",
        ask: "ssh gate '{}'",
        bare: "ssh gate",
        identity: Identity::Key,
        rc: false,
    },
    Door {
        name: "ForceCommand through another shell",
        opened: "usermod -s /bin/sh deploy",
        ask: "ssh gate '{}'",
        bare: "ssh gate",
        identity: Identity::Key,
        rc: false,
    },
    Door {
        name: "a key's command=, another login shell and ~/.ssh/rc",
        opened: "usermod -d /home/door deploy; start keyed",
        ask: "ssh keyed '{}'; code=$?; [ -e /tmp/rc-ran ] && exit $code",
        bare: "ssh keyed",
        identity: Identity::Key,
        rc: false, // sh reads it: what such a door is worth
    },
    Door {
        name: "a key's command=, the gate being the login shell: sshd starts it twice",
        opened: "usermod -s /usr/bin/nixgate deploy; rm /tmp/rc-ran",
        ask: "ssh keyed '{}'; code=$?; [ ! -e /tmp/rc-ran ] && exit $code",
        bare: "ssh keyed",
        identity: Identity::Key,
        rc: true,
    },
    Door {
        name: "a key's restrict,command=",
        opened: "",
        ask: "ssh keyed-restrict '{}'",
        bare: "ssh keyed-restrict",
        identity: Identity::Key,
        rc: false,
    },
    Door {
        name: "su",
        opened: "usermod -d /var/empty deploy",
        ask: "su - deploy -c '{}'",
        bare: "su - deploy",
        identity: Identity::None,
        rc: false,
    },
    Door {
        name: "Tailscale SSH, which runs the login shell with a client's variables",
        opened: "",
        ask: "deploy env -i SHELL=/usr/bin/nixgate USER=deploy HOME=/var/empty SSH_CLIENT='100.64.0.1 1 22' \
              SSH_ORIGINAL_COMMAND=switch LD_PRELOAD=/tmp/x.so SSH_USER_AUTH=/tmp/auth /usr/bin/nixgate -c '{}'",
        bare: "deploy env -i SSH_ORIGINAL_COMMAND=switch /usr/bin/nixgate -l",
        identity: Identity::None,
        rc: false,
    },
    Door {
        name: "a forced command of Dropbear, which asks /etc/shells for the login shell",
        opened: "start_dropbear; ssh dropbear status && exit 1; echo /usr/bin/nixgate >>/etc/shells",
        ask: "ssh dropbear '{}'",
        bare: "ssh dropbear",
        identity: Identity::None,
        rc: false,
    },
    Door {
        name: "a forced command of Dropbear through another shell",
        opened: "usermod -s /bin/sh deploy",
        ask: "ssh dropbear '{}'",
        bare: "ssh dropbear", // the variable is set and empty
        identity: Identity::None,
        rc: false,
    },
];

#[test]
fn behind_every_door_a_request_reaches_the_job_once_and_nothing_else_does() {
    let street = Street::new();
    for door in &DOORS {
        street.host.root(&format!(". /root/street; {}", door.opened));
        let rc = door.rc.then_some(REFUSED);
        let expect = |command: &str, code: i32, verdict: &'static str, contacts: i64| {
            let seen = street.attempt(command);
            let about = format!("{}: {command}: {seen:#?}", door.name);
            let verdicts: Vec<_> = rc.into_iter().chain([verdict]).collect();
            assert_eq!((seen.code, seen.verdicts(), seen.contacts), (code, verdicts, contacts), "{about}");
            seen
        };
        let seen = expect(&door.ask.replace("{}", "status"), 0, PASSED, 1);
        assert!(seen.said.contains("running "), "{}: {}", door.name, seen.said);
        let known = !seen.lines.last().unwrap().contains(" identity=none ");
        assert_eq!(known, door.identity == Identity::Key, "{}: {:?}", door.name, seen.lines);
        expect(&door.ask.replace("{}", "true"), 0, PROBE, 0);
        expect(&door.ask.replace("{}", "sh -c id"), 64, REFUSED, 0);
        expect(&door.ask.replace("{}", "switch --help"), 64, REFUSED, 0);
        expect(door.bare, 64, USAGE, 0);
    }
}

#[test]
fn a_start_that_no_server_makes_gets_nothing() {
    let street = Street::new();
    let argc_0 = "deploy perl -e 'my ($path, $none, $env) = (\"/usr/bin/nixgate\", pack(\"Q\", 0), pack(\"Q\", 0)); \
                  syscall(`uname -m` =~ /x86/ ? 59 : 221, $path, $none, $env); die $!'";
    for (command, code, verdict) in [
        // CVE-2021-4034
        (argc_0, 64, REFUSED),
        ("deploy bash -c 'exec -a \"\" /usr/bin/nixgate'", 64, REFUSED),
        ("deploy bash -c 'exec -a \"\" /usr/bin/nixgate -c status'", 64, REFUSED),
        ("deploy bash -c 'exec -a -nixgate /usr/bin/nixgate'", 64, USAGE),
        ("deploy /usr/bin/nixgate status", 64, REFUSED),
        ("deploy /usr/bin/nixgate -c status switch", 64, REFUSED),
        ("deploy /usr/bin/nixgate -l -c status", 64, REFUSED),
        ("deploy /usr/bin/nixgate --version", 64, REFUSED),
        // Tailscale SSH: the probe with su, and sftp
        ("su -w SSH_CLIENT -l deploy -c true", 0, PROBE),
        (
            "deploy bash -c 'exec -a -nixgate /usr/bin/nixgate -c \"/usr/sbin/tailscaled be-child sftp\"'",
            64,
            REFUSED,
        ),
        // accounts that are not deploy
        ("/usr/bin/nixgate -c status", 78, "misconfigured"),
        ("setpriv --reuid=nobody --regid=nogroup --clear-groups /usr/bin/nixgate -c status", 69, PASSED),
        ("setpriv --reuid=nixgate --regid=nixgate --clear-groups /usr/bin/nixgate -c status", 69, PASSED),
    ] {
        street.expect(command, code, &[verdict], 0);
    }
    let sockets = "for s in job control; do setpriv --reuid=nobody --regid=nogroup --clear-groups \
                   socat -u OPEN:/dev/null UNIX-CONNECT:/run/nixgate/$s.sock,type=5 && exit 1; done; true";
    street.expect(sockets, 0, &[], 0);
}

#[test]
fn a_role_is_for_the_key_that_sshd_vouches_for_and_no_other_door_can_claim_it() {
    let street = Street::new();
    street.access("status");
    // What Tailscale's clients can do: upload a file and set a variable.
    street.host.root(
        "echo \"publickey $(cut -d' ' -f1,2 /root/keys/ci.pub)\" >/tmp/auth; chown deploy /tmp/auth; chmod 600 /tmp/auth",
    );
    street.host.root(". /root/street; start keyed; start blind");
    let forged =
        "deploy env SSH_USER_AUTH=/tmp/auth SSH_ORIGINAL_COMMAND=status SSH_CONNECTION='1.1.1.1 1 1.1.1.1 1'";
    for (command, code) in [
        ("ssh gate status", 0),
        ("ssh gate switch", 77),
        ("ssh gate-other status", 77),
        ("su - deploy -c status", 77),
        (&format!("{forged} /usr/bin/nixgate -c status"), 77),
        ("ssh keyed status", 0),
        ("ssh blind status", 77), // without ExposeAuthInfo
    ] {
        let seen = street.expect(command, code, &[PASSED], 1);
        assert_eq!(code == 77, seen.said.contains("nixgate: "), "{command}: {}", seen.said);
    }
}

#[test]
fn a_configuration_that_others_could_have_written_is_refused() {
    let street = Street::new();
    let whole = "chown root:root /etc/nixgate /etc/nixgate/config.toml; chmod 755 /etc/nixgate; chmod 644 /etc/nixgate/config.toml";
    for spoiled in [
        "chmod o+w /etc/nixgate/config.toml",
        "chmod g+w /etc/nixgate/config.toml",
        "chown nixgate /etc/nixgate/config.toml",
        "chmod g+w /etc/nixgate",
        "chown nixgate /etc/nixgate",
        "mv /etc/nixgate/config.toml /tmp/own.toml; chown nixgate /tmp/own.toml; ln -s /tmp/own.toml /etc/nixgate/config.toml",
    ] {
        street.expect("ssh gate status", 0, &[PASSED], 1);
        street.host.root(spoiled);
        street.expect("ssh gate status", 78, &[PASSED], 1);
        street.expect("ssh gate switch", 78, &[PASSED], 1);
        street.host.root(whole);
    }
}

// ---- ways around, against an sshd that allows everybody else everything ----

#[test]
fn no_client_gets_more_than_the_gate() {
    let street = Street::new();
    street.host.root(". /root/street; start lax");
    let system = "/nix/store/00000000000000000000000000000000-nixos-system-demo";
    let nix = "nix --extra-experimental-features nix-command copy --offline --to";
    for (command, code, verdicts) in [
        ("ssh lax", 64, &[USAGE][..]),
        ("ssh lax sh", 64, &[REFUSED]),
        ("ssh lax -- 'switch; id'", 64, &[REFUSED]),
        ("ssh lax -- '$(switch)'", 64, &[REFUSED]),
        ("ssh lax -- /usr/bin/nixgate-job recover --platform fhs", 64, &[REFUSED]),
        ("ssh lax -- /usr/bin/nixgate", 64, &[REFUSED]),
        // no terminal: the client gives up, but what it asked has arrived
        ("ssh -tt lax", 255, &[USAGE]),
        ("ssh -tt lax sh", 255, &[REFUSED]),
        // subsystems: internal-sftp here, the external program there
        ("sftp -b /dev/null lax", 255, &[REFUSED]),
        ("sftp -b /dev/null gate", 255, &[REFUSED]),
        ("ssh -s lax sftp", 64, &[REFUSED]),
        ("ssh -s lax shell", 255, &[]),
        // other ways to deploy
        ("ssh lax -- nix-store --serve --write", 64, &[REFUSED]),
        (&format!("ssh lax -- test -f {system}/nixos-version"), 64, &[REFUSED]),
        ("ssh lax -- test -d /run/systemd/system", 64, &[REFUSED]),
        (&format!("ssh lax -- nix-env -p /nix/var/nix/profiles/system --set {system}"), 64, &[REFUSED]),
        (&format!("ssh lax -- sudo nix-env -p /nix/var/nix/profiles/system --set {system}"), 64, &[REFUSED]),
        (
            &format!(
                "ssh lax -- systemd-run -E LOCALE_ARCHIVE -E NIXOS_INSTALL_BOOTLOADER --collect --no-ask-password --pipe \
                 --quiet --service-type=exec --unit=nixos-rebuild-switch-to-configuration \
                 {system}/bin/switch-to-configuration switch"
            ),
            64,
            &[REFUSED],
        ),
        (&format!("ssh lax -- {system}/activate-rs activate {system}"), 64, &[REFUSED]),
        ("ssh lax -- bash -s", 64, &[REFUSED]),
        // a request in the wrong place
        ("ssh -o SetEnv=SSH_ORIGINAL_COMMAND=switch lax", 64, &[USAGE]),
        ("SSH_ORIGINAL_COMMAND=switch ssh -o SendEnv=SSH_ORIGINAL_COMMAND lax", 64, &[USAGE]),
        ("ssh -o SetEnv=LD_PRELOAD=/tmp/x.so lax 'LD_PRELOAD=/tmp/x.so switch'", 64, &[REFUSED]),
    ] {
        street.expect(command, code, verdicts, 0);
    }
    // What these make of a refusal is their own; it is no success.
    for command in [
        // files
        "scp /etc/hostname lax:/tmp/x",
        "scp lax:/etc/passwd /tmp/x",
        "scp -O /etc/hostname lax:/tmp/x",
        "scp -O lax:/etc/passwd /tmp/x",
        "rsync /etc/hostname lax:/tmp/x",
        "rsync lax:/etc/passwd /tmp/x",
        "rsync --rsync-path='switch #' /etc/hostname lax:/tmp/x",
        "git clone lax:infra.git /tmp/clone",
        "git clone -u switch lax:infra.git /tmp/clone",
        "git archive --remote=lax:infra.git HEAD",
        "mosh --no-init lax",
        // other ways to deploy
        &format!("{nix} ssh://lax /run/current-system"),
        &format!("{nix} ssh-ng://lax /run/current-system"),
        "nix-copy-closure --to lax /run/current-system",
    ] {
        let seen = street.attempt(command);
        assert!(seen.code != 0 && seen.verdicts() == [REFUSED] && seen.contacts == 0, "{command}: {seen:#?}");
    }
    assert_eq!(street.host.root("ls /tmp/x /tmp/clone 2>/dev/null || true"), "");
}

#[test]
fn nothing_is_forwarded() {
    let street = Street::new();
    street.host.root(". /root/street; start lax; start_speaker");
    // Everybody else may: each attempt works for root, so its failure says something. `open` is what success says.
    let hold = "ssh -f -N -M -S /root/ctl -o ExitOnForwardFailure=yes";
    let hear = "exec 3<>/dev/tcp/127.0.0.1/9001 && printf '\\x04\\x01\\x00\\x16\\x7f\\x00\\x00\\x01\\x00' >&3; \
                read -t 10 -r line <&3; [[ $line == *SSH-2.0* || $line == open ]] && echo open";
    let listens = "ss -lnH 'sport = 9001' | sed 's/.*/open/'";
    let end = "ssh -S /root/ctl -O exit WHO 2>/dev/null; true";
    let banner = "exec 3<>/dev/tcp/127.0.0.1/9001; read -t 10 -r line <&3; [[ $line == *SSH-2.0* || $line == open ]] && echo open";
    for command in [
        "ssh -W 127.0.0.1:22 WHO | sed 's/^SSH-2.0.*/open/'".to_owned(),
        format!("{hold} -L 9001:127.0.0.1:22 WHO && {banner}; {end}"),
        format!("{hold} -L 9001:/run/speaker.sock WHO && {banner}; {end}"),
        format!("{hold} -D 9001 WHO && {hear}; {end}"),
        format!("{hold} -R 9001:127.0.0.1:22 WHO && {listens}; {end}"),
        format!("{hold} -R 0.0.0.0:9001:127.0.0.1:22 WHO && {listens}; {end}"),
        format!("{hold} -R 9001 WHO && {listens}; {end}"),
        format!(
            "{hold} -R /tmp/back.sock:127.0.0.1:22 WHO && test -S /tmp/back.sock && echo open; {end}; rm -f /tmp/back.sock"
        ),
        format!("{hold} WHO; ssh -S /root/ctl -O forward -R 9001:127.0.0.1:22 WHO; {listens}; {end}"),
        // The second forwarding is a round trip, after which the answer to the first has come. One device is the client's.
        format!(
            "ssh -f -N -M -S /root/ctl -w any:any WHO; ssh -S /root/ctl -O forward -R 9001:127.0.0.1:22 WHO; \
             [ $(ip -o link | grep -c ': tun') = 2 ] && echo open; {end}"
        ),
    ] {
        let control = street.attempt(&command.replace("WHO", "root@lax"));
        assert!(
            control.said.lines().any(|line| line == "open"),
            "the attempt proves nothing: {command} {control:#?}"
        );
        let seen = street.attempt(&command.replace("WHO", "lax"));
        assert!(!seen.said.lines().any(|line| line == "open"), "{command}: {seen:#?}");
        assert_eq!(
            (seen.lines.len(), seen.contacts),
            (0, 0),
            "no session was asked for: {command}: {seen:#?}"
        );
    }
    // Dropbear has no block; what closes it are options of its own.
    street.host.root(". /root/street; start_dropbear; echo /usr/bin/nixgate >>/etc/shells");
    let ways = [
        "ssh -W 127.0.0.1:22 dropbear | sed 's/^SSH-2.0.*/open/'".to_owned(),
        format!("{hold} -L 9001:127.0.0.1:22 dropbear && {banner}; {end}").replace("WHO", "dropbear"),
        format!("{hold} -R 9001:127.0.0.1:22 dropbear && {listens}; {end}").replace("WHO", "dropbear"),
    ];
    for (options, opens) in [("", true), ("-j -k", false)] {
        street.host.root(&format!(". /root/street; systemctl stop dropbear; start_dropbear {options}"));
        for command in &ways {
            let seen = street.attempt(command);
            assert_eq!(seen.said.lines().any(|line| line == "open"), opens, "{options} {command}: {seen:#?}");
        }
    }
    street.expect("ssh -X lax true", 0, &[PROBE], 0);
    assert!(
        street
            .expect("DISPLAY=:0 ssh -X lax true", 0, &[PROBE], 0)
            .said
            .contains("X11 forwarding request failed")
    );
}

#[test]
fn nobody_comes_in_by_another_way() {
    let street = Street::new();
    street.host.root(". /root/street; start lax");
    // A home that an attacker could write would be full of ways in; this one is root's, so root plays the attacker.
    street.host.root(
        "mkdir /var/empty/.ssh; cp /root/keys/stranger.pub /var/empty/.ssh/authorized_keys; \
         echo 'touch /tmp/rc-ran' >/var/empty/.ssh/rc; echo SSH_ORIGINAL_COMMAND=switch >/var/empty/.ssh/environment; \
         echo 'touch /tmp/profile-ran' | tee /var/empty/.profile /var/empty/.bashrc >/var/empty/.bash_profile; \
         chmod -R a+rX /var/empty",
    );
    for (command, code, verdicts) in [
        ("ssh -o PubkeyAuthentication=no lax true", 255, &[][..]),
        ("ssh -o PreferredAuthentications=none,password,keyboard-interactive lax true", 255, &[]),
        ("ssh lax-stranger true", 255, &[]),
        ("ssh gate-stranger true", 255, &[]),
        ("ssh -l nixgate gate status", 255, &[]),
        ("ssh gate", 64, &[USAGE]),
        ("ssh lax", 64, &[USAGE]),
        ("ssh lax true", 0, &[PROBE]),
        ("su - deploy -c true", 0, &[PROBE]),
    ] {
        street.expect(command, code, verdicts, 0);
    }
    street.host.root("usermod -s /bin/bash deploy");
    street.expect("ssh lax true", 0, &[PROBE], 0);
    street.host.root("usermod -s /usr/bin/nixgate deploy");
    assert_eq!(street.host.root("ls /tmp/rc-ran /tmp/profile-ran 2>/dev/null | grep -v profile || true"), "");
    // deploy has no password, no place of its own, and may not take another shell.
    street.host.root(
        "getent shadow deploy nixgate | while IFS=: read -r _ password _; do [[ $password == !* ]] || exit 1; done; \
         [ $(find / -xdev -user deploy -not -path '/proc/*' 2>/dev/null | wc -l) = 0 ]; [ ! -e /var/lib/systemd/linger/deploy ]; \
         ! grep -q nixgate /etc/shells; [ \"$(id -Gn deploy)\" = deploy ]",
    );
    // Nor has code that runs as deploy, without a gate.
    for command in [
        "touch /var/empty/x",
        "touch /var/empty/.ssh/x",
        "touch /run/nixgate/x",
        "ls /var/lib/nixgate",
        "cat /etc/sudoers.d/nixgate",
        "cat /var/log/nixgate/activate.log",
        "sudo -n true",
        "chsh -s /bin/sh deploy",
        "systemd-run true",
        "systemctl start nixgate-recover.service",
    ] {
        assert_ne!(street.attempt(&format!("deploy {command}")).code, 0, "{command}");
    }
}

// ---- what the gate is given ----

#[test]
fn the_gate_starts_with_nothing_of_the_clients_and_holds_nothing() {
    const NAMES: &str = "LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT GLIBC_TUNABLES GCONV_PATH PATH HOME SHELL USER LOGNAME MAIL IFS ENV \
                         BASH_ENV SHELLOPTS PS4 GIT_SSH GIT_SSH_COMMAND GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0 \
                         GIT_EXEC_PATH GIT_PROXY_COMMAND GIT_EXTERNAL_DIFF NIX_CONFIG NIX_PATH NIX_REMOTE NIX_SSHOPTS NIX_CONF_DIR \
                         NIX_USER_CONF_FILES NIXOS_NO_CHECK NIXOS_INSTALL_BOOTLOADER SSH_ORIGINAL_COMMAND SSH_USER_AUTH \
                         SSH_CONNECTION SSH_CLIENT SSH_AUTH_SOCK SSH_TTY DISPLAY XAUTHORITY XDG_CONFIG_HOME XDG_RUNTIME_DIR TZ \
                         LANG LC_ALL TERM PERL5OPT PYTHONSTARTUP RUST_BACKTRACE RUST_LOG NOTIFY_SOCKET LISTEN_FDS LISTEN_PID \
                         DBUS_SESSION_BUS_ADDRESS SUDO_COMMAND CREDENTIALS_DIRECTORY NIXGATE_ACCEPTS_NOTHING";
    let street = Street::new();
    street.mute();
    street
        .host
        .root(". /root/street; start lax; systemd-run --quiet --unit=agent ssh-agent -D -a /run/agent.sock");
    let set = NAMES.split_whitespace().map(|name| format!("{name}=owned")).collect::<Vec<_>>().join(" ");
    let client = format!("SSH_AUTH_SOCK=/run/agent.sock DISPLAY=:0 ssh -A -X -o SetEnv='{set}'");
    let control =
        street.attempt(&format!("{client} root@lax 'echo $NIX_CONFIG $GIT_SSH_COMMAND $SSH_AUTH_SOCK'"));
    assert!(control.said.contains("owned owned /tmp/ssh-"), "the attempt proves nothing: {control:#?}");

    street.host.root(&format!("systemd-run --quiet --unit=client bash -c \"{client} lax switch\""));
    street.await_connections(1);
    let gate = street.host.root("pgrep -u deploy -x nixgate");
    let environment = street.host.root(&format!("tr '\\0' '\\n' </proc/{gate}/environ"));
    for (name, value) in environment.lines().filter_map(|line| line.split_once('=')) {
        let of_sshd = matches!(
            name,
            "SHELL"
                | "USER"
                | "LOGNAME"
                | "HOME"
                | "PATH"
                | "MAIL"
                | "MOTD_SHOWN"
                | "XDG_SESSION_ID"
                | "XDG_RUNTIME_DIR"
                | "XDG_SESSION_TYPE"
                | "XDG_SESSION_CLASS"
                | "DBUS_SESSION_BUS_ADDRESS"
                | "SSH_CLIENT"
                | "SSH_CONNECTION"
                | "SSH_USER_AUTH"
                | "SSH_ORIGINAL_COMMAND"
                | "LANG"
        );
        let nothing = name == "NIXGATE_ACCEPTS_NOTHING"; // the one name that the block accepts, because it means nothing
        assert!(nothing || (of_sshd && value != "owned"), "{name}={value}\n{environment}");
    }
    assert!(environment.lines().any(|line| line == "SSH_ORIGINAL_COMMAND=switch"), "{environment}");
    // Three pipes and the job; no rights; no child; one task.
    let held = street
        .host
        .root(&format!("cd /proc/{gate}; ls -v fd | paste -sd' '; for n in 0 1 2; do readlink fd/$n; done"));
    let held: Vec<&str> = held.lines().collect();
    assert_eq!((held[0], held.len()), ("0 1 2 3", 4));
    assert!(held[1..].iter().all(|to| to.starts_with("pipe:") || to.starts_with("socket:")), "{held:?}");
    let status = street.host.root(&format!(
        "cd /proc/{gate}; grep -E '^(CapPrm|CapEff|CapInh|CapAmb|NoNewPrivs|Threads):' status; grep processes limits; readlink cwd; cat task/*/children"
    ));
    let words: Vec<_> = status.split_whitespace().collect();
    let none = "0000000000000000";
    assert_eq!(
        words.join(" "),
        format!(
            "Threads: 1 CapInh: {none} CapPrm: {none} CapEff: {none} CapAmb: {none} NoNewPrivs: 1 Max processes 0 0 processes /"
        ),
        "{status}"
    );
    // The client goes; nothing of deploy stays, but the job does.
    street.host.root("systemctl stop client; timeout 20 pidwait -u deploy || [ $? = 1 ]");
    assert_eq!(street.connections(), 1);
}

// ---- one caller and the others ----

#[test]
fn one_connection_holds_two_sessions_and_not_a_third() {
    let street = Street::new();
    street.mute();
    let over = "ssh -S /root/ctl -o ProxyCommand=false gate";
    street.host.root("ssh -f -N -M -S /root/ctl gate");
    for n in 1..=2 {
        street.host.root(&format!("systemd-run --quiet --unit=client{n} {over} switch"));
        street.await_connections(n);
    }
    assert_eq!(street.host.root_code(&format!("{over} true 2>/dev/null")), 255);
    let seen = street.attempt("ssh -S /root/ctl -O exit gate");
    assert_eq!(seen.verdicts(), [PASSED, PASSED], "both end with their connection: {seen:#?}");
}

#[test]
fn stalled_callers_shut_out_deploys_for_ten_seconds_and_control_never() {
    let street = Street::new();
    street.host.root(
        ". /root/street; mkfifo /run/held; systemd-run --quiet --unit=stalled --uid=deploy perl -MSocket -e '
            for (1..64) { socket(my $s, AF_UNIX, SOCK_SEQPACKET, 0) or die; connect($s, sockaddr_un(\"/run/nixgate/job.sock\")) or die; push @all, $s }
            for my $s (@all) { 1 while sysread($s, my $b, 40000) }'",
    );
    street.await_connections(64);
    for _ in 0..3 {
        assert!(street.attempt_beside("ssh gate status").is(0, &[PASSED]));
        let seen = street.attempt_beside("ssh gate switch");
        assert!(seen.is(70, &[PASSED]) || seen.is(69, &[PASSED]), "{seen:#?}");
        assert!(seen.said.contains("too many callers") || seen.code == 69, "{seen:#?}");
    }
    // The job hears nobody out for longer than its deadline; then there is room again.
    street.await_connections(0);
    street.expect("ssh gate attach", 64, &[PASSED], 1);
}

#[test]
fn a_flood_of_callers_leaves_the_sockets_open() {
    let street = Street::new();
    // Before systemd 255 there is no limit that pauses, only the one that shuts the socket for good.
    street.host.root(
        "for s in nixgate nixgate-control; do mkdir -p /run/systemd/system/$s.socket.d; \
         printf '[Socket]\\nPollLimitIntervalSec=0\\n' >/run/systemd/system/$s.socket.d/old.conf; done; \
         systemctl daemon-reload; systemctl restart nixgate.socket nixgate-control.socket",
    );
    for socket in ["job", "control"] {
        street.host.root(&format!(
            ". /root/street; deploy perl -MSocket -e 'for (1..600) {{ socket(my $s, AF_UNIX, SOCK_SEQPACKET, 0) or die; \
             connect($s, sockaddr_un(\"/run/nixgate/{socket}.sock\")) or die $! }}'"
        ));
    }
    street.await_connections(0);
    assert!(street.attempt("ssh gate status").is(0, &[PASSED]));
    assert!(street.attempt("ssh gate attach").is(64, &[PASSED]));
    assert_eq!(
        street.host.root("systemctl is-active nixgate.socket nixgate-control.socket | uniq"),
        "active"
    );
}

// ---- the corpus ----

#[test]
fn every_hostile_request_gets_its_answer_through_sshd_and_one_line_in_the_log() {
    let street = Street::new();
    street.access(""); // the key is known and may nothing: so far and no further can a request come
    street.unlimited_log();
    let all = corpus();
    // No argument of a program can hold a NUL; sshd would not take one either.
    let rows: Vec<&Row> = all.iter().filter(|row| !row.bytes.contains(&0)).collect();
    let allowed = rows.iter().filter(|row| row.expect == "allow").count() as u64;
    let before = street.contacts();
    thread::scope(|scope| {
        for share in rows.chunks(rows.len().div_ceil(4)) {
            let street = &street;
            scope.spawn(move || {
                let line = street.connect();
                for row in share {
                    let output = line.ask(&row.bytes);
                    let code = match row.expect.as_str() {
                        "allow" => 77,
                        "probe" => 0,
                        _ => 64,
                    };
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert_eq!(output.status.code(), Some(code), "{}: {said}", row.id);
                    assert!(output.stdout.is_empty(), "{}", row.id);
                    assert_eq!(said.is_empty(), code == 0, "{}", row.id);
                    assert_eq!(
                        said.contains("nixgate: refused: "),
                        row.expect == "deny",
                        "{}: {said}",
                        row.id
                    );
                    assert!(output.stderr.iter().all(|b| matches!(b, 0x20..=0x7e | b'\n')), "{}", row.id);
                }
            });
        }
    });
    assert_eq!(street.contacts() - before, allowed);
    let lines = street.attempt("true").lines;
    let mut missing: BTreeMap<String, &str> = BTreeMap::new();
    for row in &rows {
        // Without a request the gate logs how it was started.
        let bytes: &[u8] = if row.bytes.is_empty() { b"-c /usr/bin/nixgate" } else { &row.bytes };
        let digest: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        missing.insert(format!("length={} sha256={digest}", bytes.len()), &row.id);
    }
    let mut unknown = Vec::new();
    for line in &lines {
        let key = line
            .split(' ')
            .skip_while(|word| !word.starts_with("length="))
            .take(2)
            .collect::<Vec<_>>()
            .join(" ");
        if missing.remove(&key).is_none() {
            unknown.push(line);
        }
    }
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "without a line: {missing:?}; lines of nobody: {unknown:?}"
    );
    assert!(rows.len() > 1800 && lines.len() == rows.len());
    println!("{} of {} requests were sent, {allowed} of them reached the job", rows.len(), all.len());
}

#[test]
fn every_test_that_the_readme_names_is_there() {
    let (mut there, mut open) = (String::new(), vec![PathBuf::from("src"), PathBuf::from("tests")]);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|name| name == "rs") {
            there += &fs::read_to_string(&path).unwrap();
            // A row of the exam is a file.
            there += &format!("fn {}(", path.file_stem().unwrap().to_string_lossy());
        }
    }
    let named = include_str!("README.md").split('`').skip(1).step_by(2).filter(|name| {
        name.matches('_').count() > 1 && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '…'))
    });
    let missing: Vec<_> = named
        .filter(|name| {
            let function = match name.strip_suffix('…') {
                Some(beginning) => format!("fn {beginning}"),
                None => format!("fn {name}("),
            };
            !there.contains(&function)
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

// ---- the stage ----

/// A host with clients, other servers and an account of what came of an attempt.
struct Street {
    host: Host,
}

#[derive(Debug)]
struct Seen {
    code: i32,
    said: String,
    /// What the gate logged.
    lines: Vec<String>,
    /// How many connections the job's sockets took.
    contacts: i64,
}

impl Seen {
    fn verdicts(&self) -> Vec<&str> {
        let verdict = |line: &'_ String| {
            line.split(' ').next().and_then(|word| word.strip_prefix("verdict=")).map(str::len)
        };
        self.lines.iter().map(|line| verdict(line).map_or("", |end| &line[8..8 + end])).collect()
    }
    fn is(&self, code: i32, verdicts: &[&str]) -> bool {
        self.code == code && self.verdicts() == verdicts
    }
}

impl Street {
    fn new() -> Self {
        let street = Self { host: Host::boot() };
        street.host.write("/root/street", include_str!("data/street"));
        // The user manager is stopped as `nixgatectl check` says; then nothing of deploy may outlive a call.
        street.host.root("bash /root/street prepare");
        street.attempt("true");
        street
    }
    /// Runs a shell command as root inside, and awaits that account deploy has no process left.
    fn attempt(&self, command: &str) -> Seen {
        self.run("attempt", command)
    }
    /// The same while others are connected.
    fn attempt_beside(&self, command: &str) -> Seen {
        self.run("attempt_beside", command)
    }
    fn run(&self, how: &str, command: &str) -> Seen {
        let text =
            self.host.root(&format!("bash /root/street {how} <<'END_OF_COMMAND'\n{command}\nEND_OF_COMMAND"));
        let mut parts = text.split('\x1e').map(str::trim);
        let mut next = || parts.next().unwrap_or_else(|| panic!("{command}: {text}"));
        let (code, contacts) = (next().parse().unwrap(), next().parse().unwrap());
        let lines = next().lines().map(str::to_owned).collect();
        Seen { code, contacts, lines, said: next().to_owned() }
    }
    #[track_caller]
    fn expect(&self, command: &str, code: i32, verdicts: &[&str], contacts: i64) -> Seen {
        let seen = self.attempt(command);
        assert!(seen.is(code, verdicts) && seen.contacts == contacts, "{command}: {seen:#?}");
        seen
    }
    /// The key `ci` may these verbs, and nobody else anything.
    fn access(&self, verbs: &str) {
        let verbs = verbs.split_whitespace().map(|verb| format!("\"{verb}\"")).collect::<Vec<_>>().join(", ");
        self.host.root(&format!(
            "key=$(ssh-keygen -lf /root/keys/ci.pub | cut -d' ' -f2); \
             printf '\\n[[access]]\\nname = \"ci\"\\nkey = \"%s\"\\nverbs = [{verbs}]\\n' \"$key\" >>/etc/nixgate/config.toml"
        ));
    }
    /// From now on the job takes every connection and says nothing.
    fn mute(&self) {
        self.host.root(
            "mkdir -p /run/systemd/system/nixgate-job@.service.d; \
             printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/sleep infinity\\n' >/run/systemd/system/nixgate-job@.service.d/mute.conf; \
             systemctl daemon-reload",
        );
    }
    fn unlimited_log(&self) {
        self.host.root(
            "mkdir -p /run/systemd/journald.conf.d; printf '[Journal]\\nRateLimitIntervalSec=0\\n' >/run/systemd/journald.conf.d/all.conf; \
             systemctl restart systemd-journald",
        );
    }
    fn contacts(&self) -> u64 {
        self.sum("NAccepted")
    }
    fn connections(&self) -> u64 {
        self.sum("NConnections")
    }
    fn sum(&self, property: &str) -> u64 {
        let text =
            self.host.root(&format!("systemctl show -P {property} nixgate.socket nixgate-control.socket"));
        text.split_whitespace().map(|n| n.parse::<u64>().unwrap()).sum()
    }
    fn await_connections(&self, n: u64) {
        self.host.await_root(&format!("[ $(systemctl show -P NConnections nixgate.socket) = {n} ]"), LIMIT);
    }
    /// A connection from outside, authenticated once, over which any number of requests can be sent.
    fn connect(&self) -> Line {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let n = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let control = std::env::temp_dir().join(format!("nixgate-doors-{}-{n}", std::process::id()));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/container/host");
        let mut master = Command::new(script);
        master.args(["ssh", self.host.name(), "-f", "-N", "-M", "-S"]).arg(&control);
        let quiet = master.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(quiet.status().unwrap().success());
        Line { control }
    }
}

struct Line {
    control: PathBuf,
}

impl Line {
    fn ask(&self, request: &[u8]) -> std::process::Output {
        self.ssh().args(["host", "--"]).arg(OsStr::from_bytes(request)).output().unwrap()
    }
    fn ssh(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-T", "-F", "none", "-o", "ProxyCommand=false", "-S"])
            .arg(&self.control)
            .stdin(Stdio::null());
        ssh
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.ssh().args(["-O", "exit", "host"]).stderr(Stdio::null()).status();
    }
}

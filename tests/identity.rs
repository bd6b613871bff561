//! Who asks, and when: names of a tailnet, roles, windows, certificates that end; what the job gives to its children, and
//! what stays as it was chosen. Real sshd; a stand-in for Tailscale SSH (`tests/data/tailnet` says what it copies).
#![cfg(feature = "host")]
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod host;

use host::{Answer, Commit, Host, LIMIT};
use std::collections::BTreeSet;
use std::time::Duration;

// ---- the tailnet ------------------------------------------------------------------------------------------------------

/// A host with a tailnet of five nodes, and tables for two of them and for the key `ci`.
struct Tailnet {
    host: Host,
}

const ALICE: &str = "100.64.0.7";
const CI: &str = "100.64.0.8";
const UNTAGGED: &str = "100.64.0.9";
const SHARED: &str = "100.64.0.10";
const HANGS: &str = "100.64.0.66";

impl Tailnet {
    fn new() -> Self {
        let host = Host::boot();
        host.write("/root/tailnet", include_str!("data/tailnet"));
        host.root("chmod 755 /root/tailnet; /root/tailnet install_it");
        for (node, tags, login, more) in [
            (ALICE, "", "alice@example.org", ""),
            (CI, r#""Tags": ["tag:ci", "tag:server"], "#, "tagged-devices", ""),
            (UNTAGGED, "", "tagged-devices", ""),
            (SHARED, "", "alice@example.org", r#""ShareeNode": true, "#),
            ("100.64.0.1", r#""Tags": ["tag:server"], "#, "tagged-devices", ""), // this host
        ] {
            let text = format!(
                r#"{{"Node": {{"ID": 1, "Name": "n.tail1.ts.net.", "User": 2, "Addresses": ["{node}/32", "fd7a:115c:a1e0::1/128"],
                    {tags}"Hostinfo": {{{more}"OS": "linux"}}, "Online": true}},
                   "UserProfile": {{"ID": 2, "LoginName": "{login}", "DisplayName": "X"}}, "CapMap": null}}"#
            );
            host.write(&format!("/run/tailnet/nodes/{node}"), &text);
        }
        let key = fingerprint(&host, "ci");
        let tables = format!(
            "[[access]]\nname = \"alice\"\ntailscale = \"alice@example.org\"\nrole = \"operators\"\n\
             [[access]]\nname = \"robot\"\ntailscale = \"tag:ci\"\nverbs = [\"fetch\", \"status\"]\n\
             [[access]]\nname = \"ci\"\nkey = \"{key}\"\nrole = \"operators\"\n\
             [[role]]\nname = \"operators\"\nverbs = [\"switch\", \"confirm\", \"attach\", \"status\"]\n\n[[check]]"
        );
        host.config_edit_only("[[check]]", &tables);
        host.root("/root/tailnet start");
        Self { host }
    }
    /// What Tailscale SSH gives a client, and its exit code.
    fn ask(&self, node: &str, command: &str) -> (i32, String) {
        let text = self.host.root(&format!("timeout 60 /root/tailnet ask {node} '{command}'"));
        let (said, code) = text.rsplit_once("code=").unwrap_or_else(|| panic!("{command}: {text}"));
        (code.parse().unwrap(), said.to_owned())
    }
    #[track_caller]
    fn refused(&self, node: &str, command: &str, why: &str) {
        let (code, said) = self.ask(node, command);
        assert!(code == 77 && said.contains(why), "{node} {command}: {code} {said}");
    }
    fn variables(&self, lines: &str) {
        self.host.write("/run/tailnet/variables", lines);
    }
}

fn fingerprint(host: &Host, key: &str) -> String {
    host.root(&format!("ssh-keygen -lf /root/keys/{key}.pub | cut -d' ' -f2"))
}

fn last_event(host: &Host) -> (String, String) {
    let last = host.audit().pop().unwrap();
    (last["event"].as_str().unwrap().to_owned(), last["identity"].as_str().unwrap().to_owned())
}

#[test]
fn under_tailscale_ssh_a_caller_is_who_tailscaled_says_and_nothing_that_it_brings() {
    let tailnet = Tailnet::new();
    let host = &tailnet.host;
    for node in [ALICE, CI] {
        let (code, said) = tailnet.ask(node, "status");
        assert!(code == 0 && said.contains("running "), "{node}: {said}");
    }
    tailnet.refused(CI, "switch", "robot may not switch; its verbs are: fetch, status");
    assert_eq!(last_event(host), ("not-allowed".to_owned(), "robot".to_owned()));
    tailnet.refused(UNTAGGED, "status", "does not say who this connection is from");
    tailnet.refused(SHARED, "status", "a node of another tailnet");
    tailnet.refused("100.64.0.99", "status", "tailscale whois 100.64.0.99 ended with 1");
    tailnet.refused(HANGS, "status", "did not end within 5 s");
    host.root("mv /usr/bin/tailscale /usr/bin/tailscale.away");
    tailnet.refused(ALICE, "status", "cannot start /usr/bin/tailscale");
    host.root("mv /usr/bin/tailscale.away /usr/bin/tailscale");
    let check = || host.root("nixgatectl check 2>&1 || true");
    assert!(check().contains("ok    tailscale says who a node is"), "{}", check());
    host.root("rm /run/tailnet/nodes/100.64.0.1");
    assert!(check().contains("FAIL  tailscale says who a node is"), "{}", check());
    // A wide `acceptEnv` lets a client set these, and SFTP lets it put a file there.
    host.root(
        "echo \"publickey $(cut -d' ' -f1,2 /root/keys/ci.pub)\" >/tmp/auth; chown deploy /tmp/auth; chmod 600 /tmp/auth",
    );
    tailnet.variables(&format!("SSH_CONNECTION={ALICE} 1 100.64.0.1 22\n"));
    tailnet.refused(CI, "switch", "robot may not switch");
    tailnet.variables("SSH_USER_AUTH=/tmp/auth\nSSH_ORIGINAL_COMMAND=switch\n");
    tailnet.refused(CI, "/usr/bin/nixgate", "robot may not switch");
    let key = fingerprint(host, "ci");
    let line = host.root("journalctl --sync; journalctl --identifier=nixgate --output=cat -n 1");
    assert!(
        line.contains(&format!("verdict=passed reason=\"well-formed\" start=forced-command identity={key}")),
        "the gate was not fooled, so this shows nothing: {line}"
    );
    // Without a server above it a claim is nobody's.
    let forged = "setpriv --reuid=deploy --regid=deploy --clear-groups --inh-caps=-all env SSH_USER_AUTH=/tmp/auth \
                  SSH_ORIGINAL_COMMAND=status /usr/bin/nixgate -c /usr/bin/nixgate 2>&1";
    let output = host.root_output(forged);
    assert_eq!(output.status.code(), Some(77));
    assert!(String::from_utf8_lossy(&output.stdout).contains("a key counts only through sshd"));
    // The same key through sshd has its rights.
    host.ssh(&["status"]).expect(0);
}

#[test]
fn a_confirmation_over_tailscale_ssh_counts_only_if_tailscaled_is_younger_than_the_activation() {
    let tailnet = Tailnet::new();
    let host = &tailnet.host;
    host.config_edit_only("confirm = \"10s\"", "confirm = \"2m\"");
    host.config_edit("mode = \"health\"", "mode = \"required\"");
    let old = host.triple();
    host.commit("v1", &Commit::signed());
    let client = host.ssh_spawn("ci", &["switch"]);
    client.await_text("over a new connection", LIMIT);
    // A session of now is no connection of now.
    tailnet.refused(ALICE, "confirm", "Tailscale SSH does not say when this connection was opened");
    // What was chosen stays chosen: account nixgate's own link leads elsewhere now, and root's copy does not.
    let link = "/var/lib/nixgate/roots/candidate";
    host.root(&format!(
        "setpriv --reuid=nixgate --regid=nixgate --clear-groups ln -sfn {} {link}",
        old.running
    ));
    host.root("systemctl stop tailscaled; /root/tailnet start");
    assert_eq!(tailnet.ask(CI, "confirm").0, 77);
    let (code, said) = tailnet.ask(ALICE, "confirm");
    assert_eq!(code, 0, "{said}");
    let answer = client.wait().expect(0);
    assert!(answer.stderr.contains("confirmed by alice"), "{answer:#?}");
    assert_eq!(answer.value("reachability"), "proven");
    assert_eq!(
        host.root(&format!("readlink -f {link}")),
        old.running,
        "the link was not repointed, so this shows nothing"
    );
    let now = host.triple();
    assert_eq!((host.version().as_str(), now.running.as_str()), ("v1", answer.value("new")));
    assert_eq!(host.root("readlink -f /nix/var/nix/profiles/system"), now.running);
    let shut = "setpriv --reuid=nixgate --regid=nixgate --clear-groups ln -sfn /x /nix/var/nix/profiles/nixgate-candidate";
    assert_ne!(host.root_code(shut), 0);
}

// ---- certificates, roles and windows ----------------------------------------------------------------------------------

#[test]
fn a_connection_that_outlives_its_certificate_gets_nothing_and_hours_are_kept_but_for_the_way_back() {
    let host = Host::boot();
    let day = |days: &str| host.root(&format!("LC_ALL=C date -u -d '{days} days' +%a"));
    let (open, closed) = (format!("{}..{}", day("-1"), day("1")), day("3"));
    host.root(
        "cd /root; ssh-keygen -q -t ed25519 -N '' -f authority; ssh-keygen -q -t ed25519 -N '' -f ann; \
         echo \"cert-authority $(cat authority.pub)\" >>/etc/ssh/authorized_keys.d/deploy",
    );
    let authority = host.root("ssh-keygen -lf /root/authority.pub | cut -d' ' -f2");
    let verbs = "verbs = [\"fetch\", \"switch\", \"test\", \"boot\", \"rollback\", \"confirm\", \"cancel\", \"attach\", \"status\"]";
    let tables = format!(
        "[[role]]\nname = \"open\"\n{verbs}\nwindows = [\"{open} 00:00-24:00 UTC\"]\n\
         [[role]]\nname = \"closed\"\n{verbs}\nwindows = [\"{closed} 06:30-07:00 UTC\"]\n\
         [[access]]\nname = \"ann\"\nauthority = \"{authority}\"\nprincipal = \"deploy\"\nrole = \"open\"\n\
         [[access]]\nname = \"ci\"\nkey = \"{}\"\nrole = \"open\"\n\
         [[access]]\nname = \"other\"\nkey = \"{}\"\nrole = \"closed\"\n\n[[check]]",
        fingerprint(&host, "ci"),
        fingerprint(&host, "other")
    );
    host.config_edit_only("[[check]]", &tables);
    let ssh = "ssh -o BatchMode=yes -o UserKnownHostsFile=/root/keys/known_hosts -o IdentitiesOnly=yes -i /root/ann -S /root/ctl deploy@127.0.0.1";
    host.root(&format!(
        "cd /root; ssh-keygen -q -s authority -I ann@laptop -n deploy -V always:+12s ann.pub; date -d '12 seconds' +%s >ends; \
         {ssh} -f -N -M; {ssh} -O check"
    ));
    assert_eq!(host.root_code(&format!("{ssh} status")), 0, "the certificate was over too soon");

    // Meanwhile, hours.
    let commit = host.commit("v1", &Commit::signed());
    for request in [&["fetch"][..], &["switch"], &["test"], &["boot"], &["switch", &commit]] {
        let answer = host.ssh_as("other", request);
        let said = refused(&answer);
        assert!(said.contains(&format!("at this hour; the next window opens {closed} 06:30 UTC")), "{said}");
        assert_eq!(last_event(&host), ("not-allowed".to_owned(), "other".to_owned()));
    }
    for (request, code) in [("status", 0), ("attach", 64), ("confirm", 64), ("cancel", 64), ("rollback", 13)]
    {
        host.ssh_as("other", &[request]).expect(code);
    }
    host.ssh(&["fetch"]).expect(0);
    let explain = "nixgatectl explain --key /root/keys/other.pub switch";
    assert_eq!(host.root_code(explain), 77);
    let then = host.root("date -u -d '3 days' +%Y-%m-%d");
    assert_eq!(host.root_code(&format!("{explain} --at {then}T06:30:00Z")), 0);
    assert_eq!(host.root_code(&format!("{explain} --at {then}T07:00:00Z")), 77);

    host.await_root("[ $(date +%s) -ge $(cat /root/ends) ]", Duration::from_secs(30));
    for request in ["status", "switch", "cancel"] {
        let output = host.root_output(&format!("{ssh} {request} 2>&1"));
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(77), "{said}");
        assert!(said.contains(&format!("the certificate {authority}/ann@laptop has ended")), "{said}");
    }
    assert_eq!(last_event(&host), ("not-allowed".to_owned(), "ann".to_owned()));
}

fn refused(answer: &Answer) -> &str {
    assert!(answer.code == 77 && answer.stdout.is_empty() && answer.last_line.is_empty(), "{answer:#?}");
    &answer.stderr
}

// ---- what the job runs ------------------------------------------------------------------------------------------------

/// What `nixgatectl explain` says would run as root, in this order.
fn explained(host: &Host, request: &str) -> Vec<String> {
    let text = host.root(&format!("nixgatectl explain {request}"));
    let always = text.split("if it fails").next().unwrap();
    always
        .lines()
        .filter_map(|line| line.trim().strip_prefix("/usr/bin/sudo -n -- "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn what_explain_says_is_what_runs_as_root_in_the_same_order() {
    let host = Host::boot();
    // sudo's own account of it, in whole lines.
    host.root("echo 'Defaults logfile=/root/sudo.log, loglinelen=0, syslog=local7' >/etc/sudoers.d/log");
    let ran = || {
        let text = host.root("cat /root/sudo.log; : >/root/sudo.log");
        let commands: Vec<String> =
            text.lines().filter_map(|line| line.split_once("COMMAND=")).map(|(_, c)| c.to_owned()).collect();
        // Questions whether a command is permitted are no commands.
        commands.into_iter().filter(|command| !command.starts_with("list")).collect::<Vec<_>>()
    };
    for (request, version) in
        [("fetch", "v1"), ("test", "v1"), ("switch", "v2"), ("rollback", ""), ("boot", "v3")]
    {
        if !version.is_empty() {
            host.commit(version, &Commit::signed());
        }
        host.ssh(&[request]).expect(0);
        assert_eq!(ran(), explained(&host, request), "{request}");
    }
    host.commit("v4", &Commit::signed().fault("health-bad"));
    assert_ne!(host.ssh(&["switch"]).code, 0);
    let text = host.root("nixgatectl explain switch");
    for command in ran() {
        assert!(text.contains(&command), "{command} is not in {text}");
    }
}

/// Every variable that a child of the job may have; values are constants of ours or of sudo's.
const VARIABLES: &str = "PATH LC_ALL TZ HOME PWD SHLVL _ OLDPWD GIT_CONFIG_NOSYSTEM GIT_CONFIG_SYSTEM GIT_CONFIG_GLOBAL \
                         GIT_ATTR_NOSYSTEM GIT_TERMINAL_PROMPT GIT_ASKPASS SSH_ASKPASS GIT_NO_REPLACE_OBJECTS GIT_NO_LAZY_FETCH \
                         GIT_ALLOW_PROTOCOL GIT_PROTOCOL_FROM_USER GIT_SSH_VARIANT GIT_DIR GIT_SSH_COMMAND XDG_CACHE_HOME \
                         XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME NIX_CONFIG NIX_REMOTE NIX_USER_CONF_FILES GIT_EXEC_PATH GIT_PREFIX \
                         GIT_PROTOCOL GIT_INTERNAL_GETTEXT_SH_SCHEME";
const OF_SUDO: &str = "SUDO_COMMAND SUDO_USER SUDO_UID SUDO_GID SUDO_HOME LOGNAME USER SHELL MAIL TERM LANG";

#[test]
fn what_the_job_starts_has_nothing_of_the_jobs_own_environment() {
    let host = Host::boot();
    const OWNED: &str = "PATH LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT GCONV_PATH GLIBC_TUNABLES GIT_SSH GIT_SSH_COMMAND GIT_EXTERNAL_DIFF \
                         GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0 GIT_EXEC_PATH GIT_PROXY_COMMAND NIX_CONFIG NIX_PATH \
                         NIX_REMOTE NIX_SSHOPTS NIX_CONF_DIR NIX_USER_CONF_FILES NIXOS_NO_CHECK XDG_CONFIG_HOME HOME BASH_ENV ENV \
                         SHELLOPTS PS4 IFS PERL5OPT PYTHONSTARTUP SSH_AUTH_SOCK DBUS_SESSION_BUS_ADDRESS CREDENTIALS_DIRECTORY EDITOR";
    let set: Vec<String> = OWNED.split_whitespace().map(|name| format!("Environment={name}=owned")).collect();
    let unit = "/run/systemd/system/nixgate-job@.service.d";
    host.root(&format!("mkdir -p {unit} /run/seen; chmod 1777 /run/seen"));
    host.write(&format!("{unit}/owned.conf"), &format!("[Service]\n{}\n", set.join("\n")));
    // Each program that the job starts, and what sudo starts for it, notes what it was given.
    const PROGRAMS: &str =
        "git nix nix-store nix-env ssh ssh-keygen ssh-keyscan sudo systemctl systemd-run grep";
    host.write(
        "/root/note",
        "#!/usr/bin/busybox sh\nname=${0##*/}\n/usr/bin/busybox cat /proc/$$/environ >/run/seen/$name.$$\nexec /usr/lib/real/$name \"$@\"\n",
    );
    host.root(&format!(
        "systemctl daemon-reload; mkdir /usr/lib/real; all=$(cd /usr/bin; ls {PROGRAMS} nix-* | sort -u); for p in $all; do cp -Lp /usr/bin/$p /usr/lib/real/; done; \
         for p in $all; do rm /usr/bin/$p; cp /root/note /usr/bin/$p; /usr/bin/busybox chmod 755 /usr/bin/$p; done"
    ));
    host.commit("v1", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
    host.ssh(&["status"]).expect(0);
    let job = host.root("systemctl show -P Environment nixgate-job@1.service");
    assert!(
        job.contains("GIT_SSH_COMMAND=owned") && job.contains("LD_PRELOAD=owned"),
        "the attempt proves nothing: {job}"
    );
    // Not what the forge and this test ran.
    let text = host.root("cd /run/seen; for f in *; do [ $(stat -c %U $f) = nixgate ] || /usr/lib/real/grep -qz '^SUDO_USER=nixgate$' $f || continue; tr '\\0' '\\n' <$f | sed \"s/^/${f%%.*} /\"; done");
    let (mut noted, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines() {
        let (program, variable) = line.split_once(' ').unwrap();
        let (name, value) = variable.split_once('=').unwrap();
        noted.insert(program);
        assert!(!value.contains("owned"), "{line}");
        let known = VARIABLES.split_whitespace().chain(OF_SUDO.split_whitespace()).any(|known| known == name);
        if !known {
            unknown.insert(line);
        }
        assert!(name != "PATH" || value.split(':').all(|path| path.starts_with('/')), "{line}");
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    let missing: Vec<_> = PROGRAMS.split_whitespace().filter(|program| !noted.contains(program)).collect();
    assert!(missing.is_empty() || missing == ["nix-store"], "never started: {missing:?}");
}

#[test]
fn nobody_else_can_put_a_name_where_nixgate_writes_and_nothing_of_it_is_in_a_shared_directory() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed());
    host.ssh(&["switch"]).expect(0);
    let places = "/var/lib/nixgate /var/lib/nixgate/jobs /var/lib/nixgate/audit /var/lib/nixgate/roots /var/log/nixgate /run/nixgate /etc/nixgate";
    // Whether each account could plant a name there; nixgate in its own state shows that the attempt is one.
    let plants = |account: &str| {
        host.root(&format!(
            "for d in {places}; do setpriv --reuid={account} --regid={account} --clear-groups --inh-caps=-all \
             ln -s /etc/passwd $d/planted 2>/dev/null && echo $d && rm $d/planted; done; true"
        ))
    };
    assert_eq!(plants("deploy"), "");
    assert_eq!(plants("git"), "");
    let own = ["", "/jobs", "/audit", "/roots"].map(|below| format!("/var/lib/nixgate{below}")).join("\n");
    assert_eq!(
        plants("nixgate"),
        own,
        "what root writes for us lies where account nixgate cannot plant a link"
    );
    // Nor can anybody else take the lock.
    let take = "setpriv --reuid=deploy --regid=deploy --clear-groups flock -n /var/lib/nixgate/lock true";
    assert_ne!(host.root_code(take), 0);
    assert_eq!(host.root("find /tmp /var/tmp /dev/shm -user nixgate -o -user deploy"), "");
}

#[test]
fn check_names_a_sudo_that_is_older_than_what_mended_its_known_holes() {
    let host = Host::boot();
    host.commit("v1", &Commit::signed());
    host.ssh(&["switch"]).expect(0); // now root's link to the candidate is one that sudo-rs follows
    // Both of this host have holes as they were released.
    let check = || host.root("nixgatectl check 2>&1 || true");
    assert!(
        check().contains("warn  Sudo version 1.9.16p2: as released it has CVE-2025-32462"),
        "{}",
        check()
    );
    host.use_sudo_rs();
    assert!(check().contains("warn  sudo-rs 0.2.5: as released it has CVE-2025-46717"), "{}", check());
    assert!(check().contains("ok    sudo: nixgate may run the table and nothing more"), "{}", check());
}

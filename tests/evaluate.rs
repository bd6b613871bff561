//! What a signed commit can do while it is evaluated and built, with real Nix: nothing but make a system out of what
//! it names by hash. Each refusal has its code and its reason and leaves the host as it was; each test ends with a
//! commit that is as good as the refused ones but for the fault, and deploys.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod host;

use host::job::{BUILT, KEEPS, REFUSES, TRIED, ended, leaves};
use host::{Answer, Commit, Host, LIMIT};

/// Refused before anything is built.
const VERIFIED: &str = "accepted fetched verified";
const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const HASH: &str = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
/// The commit script's own flake, under another name.
const BASE: &str = "/root/fixture/system/flake.nix";

/// A flake that is the fixture's, but for one expression that is evaluated first. `self` and `base` can be named.
fn flake(inputs: &str, first: &str) -> String {
    format!(
        "{{ {inputs} outputs = {{ self, ... }}@all: let base = (import ./base.nix).outputs {{ inherit self; }}; in {{ nixosConfigurations = ({first}).nixosConfigurations; }}; }}\n"
    )
}

/// A host, and a good commit that every other one of the test stands on.
fn with_first_commit() -> (Host, String) {
    let host = Host::boot();
    let first = host.root("git -C /srv/git/infra.git rev-parse main");
    (host, first)
}

/// A commit with these files, on top of the given one.
fn commit(host: &Host, version: &str, parent: &str, files: &[(&str, &str)]) -> String {
    let with = |commit: Commit, (n, (path, text)): (usize, &(&str, &str))| {
        let from = format!("/root/put-{n}");
        host.write(&from, text);
        commit.put(path, &from)
    };
    let start = Commit::signed().parent(parent).put("base.nix", BASE);
    host.commit(version, &files.iter().enumerate().fold(start, with))
}

/// `switch` refuses the tip with this code and reason, and nothing of it is there.
#[track_caller]
fn refuses(host: &Host, version: &str, code: i32, why: &str) -> Answer {
    let before = host.triple();
    let answer = host.ssh(&["switch"]);
    leaves(host, &before, &answer, "switch", "refused", code, &[VERIFIED, REFUSES]);
    let said = answer.stderr.split("nixgate: v=1 ").next().unwrap_or_default();
    assert!(said.contains(why), "no {why:?} in {answer:#?}");
    let built = format!("ls -d /nix/store/*-nixos-system-demo-{version} 2>/dev/null | wc -l");
    assert_eq!(host.root(&built), "0", "{version} was built");
    answer
}

#[track_caller]
fn deploys(host: &Host, version: &str) -> Answer {
    let answer = host.ssh(&["switch"]);
    ended(host, &answer, "switch", "committed", 0, &[TRIED, KEEPS]);
    assert_eq!(host.version(), version);
    answer
}

fn lock(node: &str) -> String {
    let node = node.replace("HASH", HASH).replace("REV", REVISION);
    format!(
        "{{\"nodes\":{{\"root\":{{\"inputs\":{{\"dep\":\"dep\"}}}},\"dep\":{{{node}}}}},\"root\":\"root\",\"version\":7}}\n"
    )
}

// ---- what is brought in ------------------------------------------------------------------------------------------------

#[test]
fn what_the_lock_file_does_not_pin_is_11_and_nothing_is_evaluated() {
    let (host, first) = with_first_commit();
    // Anybody's word on what `dep` is.
    let registry = "{\"version\":2,\"flakes\":[{\"exact\":true,\"from\":{\"type\":\"indirect\",\"id\":\"dep\"},\"to\":{\"type\":\"git\",\"url\":\"file:///srv/git/infra.git\"}}]}";
    host.write("/root/registry.json", registry);
    host.root(
        "install -D -m 0644 /root/registry.json /etc/nix/registry.json; \
         for home in /var/lib/nixgate /var/lib/nixgate/nix/home; do \
           install -D -m 0644 /root/registry.json $home/.config/nix/registry.json; done; \
         chown -R nixgate: /var/lib/nixgate",
    );
    let git = "inputs.dep = { url = \"git+ssh://git@127.0.0.1/srv/git/infra.git\"; flake = false; };";
    let original =
        "\"flake\":false,\"original\":{\"type\":\"git\",\"url\":\"ssh://git@127.0.0.1/srv/git/infra.git\"}";
    let locked = |attributes: &str| lock(&format!("\"locked\":{{{attributes}}},{original}"));
    let url = "\"url\":\"ssh://git@127.0.0.1/srv/git/infra.git\"";
    let unlocked = "flake.lock does not lock all that flake.nix asks for";
    let cases = [
        (
            "no-hash",
            git,
            locked(&format!("\"type\":\"git\",{url},\"rev\":\"REV\"")),
            "the input dep has no narHash",
        ),
        (
            "no-rev",
            git,
            locked(&format!("\"type\":\"git\",{url},\"narHash\":\"HASH\"")),
            "the input dep names no revision",
        ),
        (
            "path",
            git,
            locked("\"type\":\"path\",\"path\":\"/srv/git\",\"narHash\":\"HASH\""),
            "the input dep is a path of the machine",
        ),
        (
            "indirect",
            git,
            locked("\"type\":\"indirect\",\"id\":\"dep\",\"narHash\":\"HASH\""),
            "a name of somebody's registry",
        ),
        ("version", git, lock(original).replace(":7", ":8"), "is of version 8"),
        ("unlocked", git, "{\"nodes\":{\"root\":{}},\"root\":\"root\",\"version\":7}\n".to_owned(), unlocked),
        (
            "registry",
            "inputs.dep.flake = false;",
            "{\"nodes\":{\"root\":{}},\"root\":\"root\",\"version\":7}\n".to_owned(),
            unlocked,
        ),
        // The lock file is good, and is about another address.
        (
            "moved",
            &git.replace("infra", "other"),
            locked(&format!("\"type\":\"git\",{url},\"rev\":\"REV\",\"narHash\":\"HASH\"")),
            unlocked,
        ),
        ("large", git, " ".repeat(1 << 20) + &lock(original), "larger than a megabyte"),
    ];
    for (version, inputs, lock, why) in cases {
        let id =
            commit(&host, version, &first, &[("flake.nix", &flake(inputs, "base")), ("flake.lock", &lock)]);
        let answer = refuses(&host, version, 11, why);
        assert!(!answer.stderr.contains("evaluating"), "{answer:#?}");
        if version == "registry" {
            // Whoever asks Nix without those words gets what the registry says.
            host.root(&format!(
                "cd /root; nix --extra-experimental-features 'nix-command flakes' flake metadata --no-write-lock-file \
                   --option flake-registry /etc/nix/registry.json 'git+file:///srv/git/infra.git?rev={id}' 2>&1"
            ));
        }
    }
    // Locked, from a directory of the commit itself and from a repository, by Nix.
    let inputs = format!("{git} inputs.sub.url = \"path:./sub\";");
    let sub = "{ outputs = { self }: { word = \"sub\"; }; }\n";
    let use_them = "assert all.sub.word == \"sub\"; assert builtins.pathExists \"${all.dep}/build.sh\"; base";
    let flake = flake(&inputs, use_them);
    commit(&host, "v1", &first, &[("flake.nix", &flake), ("sub/flake.nix", sub)]);
    host.root(
        "rm -rf /root/work; git clone -q /srv/git/infra.git /root/work; cd /root/work; \
         export GIT_SSH_COMMAND='ssh -i /root/keys/source -o UserKnownHostsFile=/root/keys/known_hosts'; \
         nix --extra-experimental-features 'nix-command flakes' flake lock 2>&1; cp flake.lock /root/flake.lock",
    );
    let lock = host.root("cat /root/flake.lock");
    assert!(lock.contains("narHash") && lock.contains("\"./sub\""), "{lock}");
    commit(&host, "v1", &first, &[("flake.nix", &flake), ("sub/flake.nix", sub), ("flake.lock", &lock)]);
    deploys(&host, "v1");
}

// ---- what an evaluation can reach ----------------------------------------------------------------------------------------

#[test]
fn an_evaluation_reads_nothing_but_the_commit_and_obeys_no_settings_of_it() {
    let (host, first) = with_first_commit();
    let hook = "#!/bin/sh\ntouch \"/tmp/hook-of-$(id -un)\"\n";
    host.write("/tmp/hook", hook);
    host.root("chmod 0755 /tmp/hook");
    // What the flake asks of Nix, and somebody's word that all of it was agreed to, in every home of the account.
    let settings = "nixConfig = { allow-import-from-derivation = true; pure-eval = false; post-build-hook = \"/tmp/hook\"; sandbox = false; extra-substituters = \"http://127.0.0.1:9/\"; flake-registry = \"/tmp/hook\"; };";
    let trusted = "{\"allow-import-from-derivation\":{\"true\":true},\"pure-eval\":{\"false\":true},\"post-build-hook\":{\"/tmp/hook\":true},\"sandbox\":{\"false\":true},\"extra-substituters\":{\"http://127.0.0.1:9/\":true}}";
    host.write("/root/trusted-settings.json", trusted);
    host.root(
        "for home in /root /var/lib/nixgate /var/lib/nixgate/nix/home; do \
           install -D -m 0644 /root/trusted-settings.json $home/.local/share/nix/trusted-settings.json; done; \
         install -D -m 0644 /root/trusted-settings.json /var/lib/nixgate/nix/state/nix/trusted-settings.json; \
         install -D -m 0644 /root/trusted-settings.json /var/lib/nixgate/nix/cache/nix/trusted-settings.json; \
         chown -R nixgate: /var/lib/nixgate",
    );
    let import = "import (derivation { name = \"ifd\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"echo 1 >$out\" ]; })";
    let cases = [
        ("file", "builtins.seq (builtins.readFile \"/etc/passwd\") base".to_owned()),
        ("state", "builtins.seq (builtins.readDir \"/var/lib/nixgate\") base".to_owned()),
        ("system", "builtins.seq builtins.currentSystem base".to_owned()),
        ("path", "builtins.seq (import <nixpkgs>) base".to_owned()),
        ("tarball", "builtins.seq (builtins.fetchTarball \"http://127.0.0.1:8080/version\") base".to_owned()),
        ("git", "builtins.seq (builtins.fetchGit \"file:///srv/git/infra.git\").rev base".to_owned()),
        (
            "unlocked-flake",
            "builtins.seq (builtins.getFlake \"git+file:///srv/git/infra.git\").rev base".to_owned(),
        ),
        ("ifd", format!("assert {import} == 1; base")),
    ];
    for (version, first_expression) in cases {
        let files = [("flake.nix", &*flake(settings, &first_expression))];
        commit(&host, version, &first, &files);
        let answer = refuses(&host, version, 12, "could not be evaluated");
        assert!(answer.stderr.contains("import from derivation is off (source.import-from-derivation)"));
    }
    // What is not there to be read is empty, and what the flake wants of Nix does not happen.
    let inert = "assert builtins.getEnv \"HOME\" == \"\" && builtins.getEnv \"NIX_CONFIG\" == \"\"; assert !(builtins ? currentTime); assert builtins.attrNames (builtins.readDir \"/nix/store\") == [ (baseNameOf \"${self}\") ]; base";
    commit(&host, "v1", &first, &[("flake.nix", &flake(settings, inert))]);
    deploys(&host, "v1");
    assert_eq!(host.root("ls /tmp/hook-of-* 2>/dev/null || true"), "", "the hook of the flake ran");
    // They are obeyed where nobody keeps them away.
    let id = commit(&host, "hooked", &first, &[("flake.nix", &flake(settings, "base"))]);
    host.root(&format!(
        "cd /root; nix --extra-experimental-features 'nix-command flakes' build --no-link \
           'git+file:///srv/git/infra.git?rev={id}#nixosConfigurations.demo.config.system.build.toplevel^out' 2>&1; \
         ls /tmp/hook-of-root"
    ));
}

#[test]
fn an_evaluation_without_end_or_measure_is_12_and_the_limit_is_named() {
    let (host, first) = with_first_commit();
    host.config_edit_only(
        "build = \"5m\"",
        "build = \"5m\"\nevaluation = \"4s\"\nevaluation-memory = \"600M\"",
    );
    let many = "builtins.genList (x: x) 100000";
    let endless = format!("builtins.foldl' (a: x: builtins.foldl' (b: y: b + y) a ({many})) 0 ({many})");
    commit(&host, "endless", &first, &[("flake.nix", &flake("", &format!("assert {endless} == 0; base")))]);
    refuses(&host, "endless", 12, "the evaluation did not end within 4 s (limits.evaluation)");
    host.root("! pgrep -u nixgate nix-instantiate");
    // Room for what may take its time.
    host.config_edit_only("evaluation = \"4s\"", "evaluation = \"2m\"");
    let huge = "builtins.stringLength (builtins.foldl' (a: n: a + a) \"aaaaaaaaaaaaaaaa\" (builtins.genList (x: x) 40))";
    commit(&host, "huge", &first, &[("flake.nix", &flake("", &format!("assert {huge} == 0; base")))]);
    refuses(&host, "huge", 12, "It may use 600 MiB of memory (limits.evaluation-memory)");
    // 128 MiB are no offence.
    let large = huge.replace("40", "23").replace("== 0", "> 0");
    commit(&host, "v1", &first, &[("flake.nix", &flake("", &format!("assert {large} > 0; base")))]);
    deploys(&host, "v1");
}

#[test]
fn import_from_derivation_is_off_until_it_is_allowed_and_its_output_moves_no_terminal() {
    let (host, first) = with_first_commit();
    let script = "printf 'seen \\033]0;owned\\007\\033[31mred\\033[2J\\n' >&2; echo '{ word = 1; }' >$out";
    let import = format!(
        "assert (import (derivation {{ name = \"ifd\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" ''{script}'' ]; }})).word == 1; base"
    );
    commit(&host, "v1", &first, &[("flake.nix", &flake("", &import))]);
    refuses(&host, "v1", 12, "import from derivation is off (source.import-from-derivation)");
    host.config_edit_only("kind = \"flake\"", "kind = \"flake\"\nimport-from-derivation = true");
    let answer = deploys(&host, "v1");
    assert!(answer.stderr.contains("seen"), "what the builder prints is in the log: {answer:#?}");
    assert!(!answer.stderr.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{answer:#?}");
}

// ---- who builds ----------------------------------------------------------------------------------------------------------

#[test]
fn nothing_is_built_while_a_build_could_leave_its_sandbox_or_an_account_is_as_good_as_root() {
    let (host, _) = with_first_commit();
    host.commit("v1", &Commit::signed());
    let permanent = deploys(&host, "v1");
    host.commit("v2", &Commit::signed());
    let restart = "systemctl reset-failed nix-daemon.service; systemctl restart nix-daemon.service";
    let setting = |key: &str, value: &str| {
        format!(
            "cp /etc/nix/nix.conf /root/nix.conf; sed -i '/^{key} /d' /etc/nix/nix.conf; echo '{key} = {value}' >>/etc/nix/nix.conf; {restart}"
        )
    };
    let undo = format!("cp /root/nix.conf /etc/nix/nix.conf; {restart}");
    let group = |account: &str, group: &str| {
        (
            format!("groupadd -f {group}; gpasswd -a {account} {group}"),
            format!("gpasswd -d {account} {group}"),
        )
    };
    let cases = [
        ((setting("sandbox", "false"), undo.clone()), "sandbox = false", "FAIL  Nix builds in its sandbox"),
        (
            (setting("sandbox", "relaxed"), undo.clone()),
            "sandbox = relaxed",
            "FAIL  Nix builds in its sandbox",
        ),
        (
            (setting("sandbox-fallback", "true"), undo.clone()),
            "sandbox-fallback = true",
            "FAIL  Nix builds in its sandbox",
        ),
        (
            (setting("trusted-users", "root nixgate"), undo.clone()),
            "account nixgate is trusted",
            "FAIL  Nix does not trust nixgate",
        ),
        (
            (setting("trusted-users", "root @deploy"), undo.clone()),
            "account deploy is trusted",
            "FAIL  Nix does not trust deploy",
        ),
        (group("deploy", "wheel"), "account deploy is in the group wheel", "FAIL  groups of deploy"),
        (group("nixgate", "docker"), "account nixgate is in the group docker", "FAIL  groups of nixgate"),
    ];
    // What is built already needs no builder.
    let (make, mend) = &cases[0].0;
    host.root(make);
    let before = host.triple();
    let unchanged = host.ssh(&["switch", permanent.value("commit")]);
    leaves(&host, &before, &unchanged, "switch", "unchanged", 0, &[BUILT, "done ended"]);
    host.root(mend);
    for ((make, mend), why, check) in cases {
        host.root(&make);
        let answer = refuses(&host, "v2", 78, why);
        assert!(!answer.stderr.contains("evaluating"), "{answer:#?}");
        // The operator's look says the same.
        let said = host.root_output("nixgatectl check");
        assert_eq!(said.status.code(), Some(78));
        assert!(String::from_utf8_lossy(&said.stdout).contains(check), "{said:?}");
        host.root(&mend);
    }
    host.root("nixgatectl check");
    deploys(&host, "v2");
}

// ---- a candidate stays ---------------------------------------------------------------------------------------------------

#[test]
fn garbage_collection_takes_neither_a_candidate_nor_the_way_back() {
    let host = Host::boot();
    host.config_edit_only("confirm = \"10s\"", "confirm = \"60s\"");
    host.config_edit("mode = \"health\"", "mode = \"required\"");
    let collect = "nix-collect-garbage -d 2>&1";
    let collected_in_the_middle = |word: &str| {
        let client = host.ssh_spawn("ci", &["switch"]);
        client.await_text("over a new connection", LIMIT);
        host.root(collect);
        host.ssh(&[word]).expect(0);
        client.wait()
    };
    // Between a build and the deploy of it.
    host.commit("v1", &Commit::signed());
    ended(&host, &host.ssh(&["fetch"]), "fetch", "fetched", 0, &[BUILT, "done ended"]);
    let candidate = host.root("readlink -f /var/lib/nixgate/roots/candidate");
    host.root(collect);
    // In the middle of a trial, and then the way back, for which everything is still there.
    let before = host.triple();
    let answer = collected_in_the_middle("cancel");
    assert!(!answer.stderr.contains("evaluating"), "{answer:#?}");
    leaves(&host, &before, &answer, "switch", "reverted", 23, &[TRIED, "healthy reverting reverted ended"]);
    assert_eq!(answer.value("new"), candidate);
    // And forward.
    let answer = collected_in_the_middle("confirm");
    let keeps = "healthy confirmed-by confirmed committing committed ended";
    ended(&host, &answer, "switch", "committed", 0, &[TRIED, keeps]);
    assert_eq!((answer.value("new"), host.version().as_str()), (candidate.as_str(), "v1"));
}

// ---- without a flake -----------------------------------------------------------------------------------------------------

#[test]
fn a_repository_without_a_flake_is_evaluated_as_purely_and_byte_for_byte() {
    let (host, first) = with_first_commit();
    host.config_edit_only("kind = \"flake\"", "kind = \"nix\"\nfile = \"nix/hosts.nix\"");
    let file = |first: &str| {
        format!(
            "{{ demo = {first} ((import ../base.nix).outputs {{ self = {{ outPath = ../.; }}; }}).nixosConfigurations.demo; }}\n"
        )
    };
    let cases = [
        ("path", "builtins.seq (builtins.readFile /etc/passwd)"),
        ("tarball", "builtins.seq (builtins.fetchTarball \"http://127.0.0.1:8080/version\")"),
        ("git", "builtins.seq (builtins.fetchGit { url = \"file:///srv/git/infra.git\"; ref = \"main\"; })"),
        ("system", "builtins.seq builtins.currentSystem"),
    ];
    for (version, expression) in cases {
        commit(&host, version, &first, &[("nix/hosts.nix", &file(expression))]);
        refuses(&host, version, 12, "could not be evaluated");
    }
    commit(&host, "absent", &first, &[]);
    refuses(&host, "absent", 12, "could not be evaluated");
    // An export would leave these out, and write the commit's id into that.
    let attributes = "build.sh export-ignore\nunits/* export-ignore\nnote export-subst\n";
    let exact = "assert builtins.readFile ../note == \"$Format:%H$\";";
    let files = [("nix/hosts.nix", &*file(exact)), (".gitattributes", attributes), ("note", "$Format:%H$")];
    commit(&host, "v1", &first, &files);
    deploys(&host, "v1");
    // A system that says another commit than the one that was verified is none that was asked for.
    let lie = file("").replace("outPath = ../.;", &format!("outPath = ../.; rev = \"{REVISION}\";"));
    commit(&host, "v2", &host.root("git -C /srv/git/infra.git rev-parse main"), &[("nix/hosts.nix", &lie)]);
    let before = host.triple();
    let answer = host.ssh(&["switch"]);
    leaves(&host, &before, &answer, "switch", "refused", 11, &[VERIFIED, REFUSES]);
    assert!(answer.stderr.contains("and not from the verified commit"), "{answer:#?}");
}

// ---- private inputs ------------------------------------------------------------------------------------------------------

/// A second forge on this host: another host key, which `known_hosts` does not have yet, and another key that it lets
/// in. Its repository has one file.
fn second_forge(host: &Host) {
    host.root(
        "set -e; mkdir -p /srv/forge; cd /srv/forge; ssh-keygen -q -t ed25519 -N '' -f host; \
         ssh-keygen -q -t ed25519 -N '' -f /root/keys/inputs; install -m 0644 /root/keys/inputs.pub inputs.pub; \
         printf '%s\\n' 'Port 2222' 'ListenAddress 127.0.0.1' 'HostKey /srv/forge/host' 'AuthorizedKeysFile /srv/forge/inputs.pub' \
           'AllowUsers git' 'LogLevel VERBOSE' 'PasswordAuthentication no' 'UsePAM yes' 'PidFile none' >sshd.conf; \
         systemd-run --quiet --unit=second-forge --service-type=notify /usr/sbin/sshd -D -f /srv/forge/sshd.conf; \
         echo \"[localhost]:2222 $(cut -d' ' -f1,2 host.pub)\" >known_hosts; \
         git init --quiet --bare --initial-branch=main /srv/git/lib.git; \
         git clone -q /srv/git/lib.git work 2>&1; cd work; echo '{ word = \"private\"; }' >default.nix; git add .; \
         git -c user.name=a -c user.email=a commit -qm lib; git push -q origin main 2>&1; chown -R git: /srv/git/lib.git",
    );
}

#[test]
fn a_private_repository_is_fetched_with_the_key_of_its_host_and_no_other() {
    let (host, first) = with_first_commit();
    second_forge(&host);
    let flake = flake(
        "inputs.lib = { url = \"git+ssh://git@localhost:2222/srv/git/lib.git\"; flake = false; };",
        "assert (import \"${all.lib}/default.nix\").word == \"private\"; base",
    );
    commit(&host, "v1", &first, &[("flake.nix", &flake)]);
    host.root(
        "git clone -q /srv/git/infra.git /root/work; cd /root/work; \
         export GIT_SSH_COMMAND='ssh -i /root/keys/inputs -o UserKnownHostsFile=/srv/forge/known_hosts'; \
         nix --extra-experimental-features 'nix-command flakes' flake lock 2>&1; \
         nix-store --delete $(dirname $(grep -l private /nix/store/*-source/default.nix)) 2>&1",
    );
    let lock = host.root("cat /root/work/flake.lock");
    let files = [("flake.nix", flake.as_str()), ("flake.lock", &lock)];
    commit(&host, "v1", &first, &files);
    // Its host key is not pinned.
    host.config_edit_only(
        "[trust]",
        "[[input-key]]\nhost = \"localhost\"\nkey = \"/var/lib/nixgate/keys/inputs\"\n\n[trust]",
    );
    host.root("install -m 0600 -o nixgate -g nixgate /root/keys/inputs /var/lib/nixgate/keys/inputs");
    refuses(&host, "v1", 12, "could not be evaluated");
    // Others can read the key; there is none; it is another one.
    host.root(
        "cat /srv/forge/known_hosts >>/etc/nixgate/known_hosts; chmod 0644 /var/lib/nixgate/keys/inputs",
    );
    refuses(&host, "v1", 78, "/var/lib/nixgate/keys/inputs can be read by others");
    host.root("mv /var/lib/nixgate/keys/inputs /root/inputs");
    refuses(&host, "v1", 78, "/var/lib/nixgate/keys/inputs");
    host.root("cp -p /var/lib/nixgate/keys/source /var/lib/nixgate/keys/inputs");
    refuses(&host, "v1", 12, "could not be evaluated");
    // Seen by the forge: that other key, and then none but the right one.
    let refused = "journalctl -o cat -u second-forge | grep -c '^Failed publickey' || true";
    let others = host.root(refused);
    assert_ne!(others, "0");
    host.root("install -m 0600 -o nixgate -g nixgate /root/inputs /var/lib/nixgate/keys/inputs");
    deploys(&host, "v1");
    assert_eq!(host.root(refused), others);
}

#[test]
fn a_token_opens_its_forge_and_is_written_down_nowhere() {
    let (host, first) = with_first_commit();
    host.root("mkdir /srv/forge");
    // A forge that gives its tarball to whoever has the token, and notes what it can see of whoever asks.
    host.write(
        "/srv/forge/answer",
        "#!/bin/bash\n\
         while IFS= read -r line; do line=${line%$'\\r'}; [ -n \"$line\" ] || break; [ \"$line\" != 'Authorization: token s3cret' ] || let_in=1; done\n\
         cat /proc/[0-9]*/cmdline | tr '\\0' ' ' >>/srv/forge/seen\n\
         if [ \"${let_in-}\" ]; then\n\
           printf 'HTTP/1.1 200 OK\\r\\nContent-Length: %s\\r\\nConnection: close\\r\\n\\r\\n' \"$(stat -c %s /srv/forge/lib.tar.gz)\"\n\
           cat /srv/forge/lib.tar.gz\n\
         else printf 'HTTP/1.1 404 Not Found\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n'; fi\n",
    );
    host.root(
        "set -e; cd /srv/forge; chmod 0755 answer; \
         openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
           -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem 2>/dev/null; cat key.pem cert.pem >tls.pem; \
         cat cert.pem >>/etc/ssl/certs/ca-certificates.crt; \
         mkdir lib; echo '{ word = \"private\"; }' >lib/default.nix; tar -czf lib.tar.gz lib; \
         systemd-run --quiet --unit=token-forge socat OPENSSL-LISTEN:443,reuseaddr,fork,cert=/srv/forge/tls.pem,verify=0 EXEC:/srv/forge/answer",
    );
    host.await_root("socat -u OPEN:/dev/null TCP:127.0.0.1:443", LIMIT);
    let hash =
        host.root("nix --extra-experimental-features nix-command hash path /srv/forge/lib 2>/dev/null");
    let address = "\"type\":\"github\",\"host\":\"localhost\",\"owner\":\"team\",\"repo\":\"lib\"";
    let lock = format!(
        "{{\"nodes\":{{\"root\":{{\"inputs\":{{\"lib\":\"lib\"}}}},\"lib\":{{\"flake\":false,\"locked\":{{{address},\"narHash\":\"{hash}\",\"rev\":\"{REVISION}\"}},\"original\":{{{address}}}}}}},\"root\":\"root\",\"version\":7}}\n"
    );
    let flake = flake(
        "inputs.lib = { url = \"github:team/lib?host=localhost\"; flake = false; };",
        "assert (import \"${all.lib}/default.nix\").word == \"private\"; base",
    );
    commit(&host, "v1", &first, &[("flake.nix", &flake), ("flake.lock", &lock)]);
    refuses(&host, "v1", 12, "could not be evaluated");
    let file = "/var/lib/nixgate/keys/tokens";
    host.config_edit_only("[trust]", &format!("access-tokens-file = \"{file}\"\n\n[trust]"));
    let write = |text: &str, mode: &str| {
        host.write(file, text);
        host.root(&format!("chown nixgate: {file}; chmod {mode} {file}"));
    };
    write("localhost=s3cret\n", "0640");
    refuses(&host, "v1", 78, &format!("{file} can be read by others"));
    write("# the team's\ns3cret\n", "0600");
    refuses(&host, "v1", 78, "line 2 is no host=token");
    write("localhost=wrong\n", "0600");
    refuses(&host, "v1", 12, "could not be evaluated");
    write("# the team's\nlocalhost=s3cret\n", "0600");
    let answer = deploys(&host, "v1");
    assert!(!answer.stderr.contains("s3cret"), "{answer:#?}");
    host.root("grep -q nix-instantiate /srv/forge/seen");
    host.root("! grep -q s3cret /srv/forge/seen");
    host.root("! grep -rq s3cret /var/lib/nixgate --exclude=tokens && ! grep -rq s3cret /var/log");
    host.root("! journalctl | grep -v 'nsenter\\|bash -c' | grep -q s3cret");
}

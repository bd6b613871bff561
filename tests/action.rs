//! `action.yml`, run as the file has it: its step's text by the shell that it names, with the environment that a runner
//! makes of the inputs, against real sshd and against an ssh that plays a host. And the workflows that use it.
#![cfg(feature = "host")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod deploy;
mod host;

use deploy::{COMMIT, Place, SHELLS, Stand, Told};
use host::{Commit, Host};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every scalar as the text that stands there: `on` is no boolean, and 22 no number.
fn yaml(text: &str) -> Value {
    let program =
        "import sys, yaml, json; json.dump(yaml.load(sys.stdin, Loader=yaml.BaseLoader), sys.stdout)";
    let mut python = Command::new("/usr/bin/python3");
    let mut child =
        python.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "no YAML (or no python3-yaml): {text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap()
}

fn action() -> Value {
    yaml(&read("action.yml"))
}

/// The one step.
fn step(action: &Value) -> &Value {
    assert_eq!(action["runs"]["using"], "composite");
    let steps = action["runs"]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 1);
    &steps[0]
}

fn map(value: &Value) -> BTreeMap<&str, &str> {
    let object = value.as_object().unwrap_or_else(|| panic!("no map: {value}"));
    object.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap())).collect()
}

/// What `${{ inputs.NAME }}` names, which is all that an `env:` of ours may be.
fn named(expression: &str) -> &str {
    let inner = expression.strip_prefix("${{ inputs.").and_then(|rest| rest.strip_suffix(" }}"));
    inner.filter(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')).expect(expression)
}

/// What a runner makes of one run of the action.
#[derive(Debug)]
struct Run {
    code: i32,
    log: String,
    outputs: BTreeMap<String, String>,
    page: String,
    /// The commands that the runner obeys.
    commands: Vec<String>,
}

fn start(shell: &[&str], place: &Place, inputs: &[(&str, &str)]) -> Child {
    let action = action();
    let step = step(&action);
    // GitHub: `sh -e {0}`.
    assert_eq!(step["shell"], "sh");
    let script = place.write("step.sh", step["run"].as_str().unwrap());
    // A shell cannot trap what was ignored when it began, as under nohup.
    let mut command = Command::new("/usr/bin/env");
    command.arg("--default-signal=HUP,INT,TERM").args(shell).arg("-e").arg(script).env_clear();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", place.path("bin").display());
    command.env("PATH", path).env("HOME", place.root()).env("GITHUB_ACTION_PATH", ROOT);
    command.env("RUNNER_TEMP", place.path("tmp")).env("TMPDIR", place.path("tmp"));
    for (variable, name) in [("GITHUB_OUTPUT", "output"), ("GITHUB_STEP_SUMMARY", "page")] {
        command.env(variable, place.write(name, ""));
    }
    for name in inputs.iter().map(|(name, _)| name) {
        assert!(action["inputs"].get(name).is_some(), "no input {name}");
    }
    for (variable, expression) in map(&step["env"]) {
        let name = named(expression);
        let given = inputs.iter().find(|(input, _)| *input == name).map(|(_, value)| *value);
        let default = action["inputs"][name].get("default").and_then(Value::as_str).unwrap_or_default();
        command.env(variable, given.unwrap_or(default));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect(shell[0])
}

fn run(shell: &[&str], place: &Place, inputs: &[(&str, &str)]) -> Run {
    let told = Told::of(&start(shell, place, inputs).wait_with_output().unwrap());
    assert_eq!(told.stderr, "", "one stream, so that the order is kept");
    let output = place.text("output");
    let pairs = output.lines().map(|line| line.split_once('=').expect(line));
    Run {
        code: told.code,
        commands: obeyed(&told.stdout),
        outputs: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        page: place.text("page"),
        log: told.stdout,
    }
}

/// A runner's eye: what follows `::` at the beginning of a line, blanks aside, or `##[` anywhere; until the word that ends
/// what `stop-commands` began.
fn obeyed(log: &str) -> Vec<String> {
    let (mut found, mut until) = (Vec::new(), None::<String>);
    for line in log.split(['\n', '\r']).map(str::trim_start) {
        match &until {
            Some(token) if line == format!("::{token}::") => until = None,
            Some(_) => {}
            None if line.starts_with("::stop-commands::") => until = Some(line[17..].to_owned()),
            None if line.starts_with("::") || line.contains("##[") => found.push(line.to_owned()),
            None => {}
        }
    }
    assert_eq!(until, None, "what was stopped goes on: {log}");
    found
}

const PIN: &str = "web1 ssh-ed25519 AAAA";

/// A host that takes whatever is asked as job 5, and how that ends.
fn ends(result: &str, code: u8) -> String {
    format!(
        "case $ask in *status*) sent; status 4-00000004; exit 0 ;; esac\n\
         sent; {{ first 5-00000005 \"$request\"; verdict 5-00000005 switch {result} {code}; }} >&2; exit {code}"
    )
}

fn web1<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("host", "web1"), ("known-hosts", PIN)], more].concat()
}

#[test]
fn every_input_goes_by_the_environment_and_the_text_is_clean() {
    let action = action();
    let step = step(&action);
    let text = step["run"].as_str().unwrap();
    assert!(!text.contains("${{"), "an input is no program");
    let env = map(&step["env"]);
    let mut used: Vec<&str> = env.values().map(|expression| named(expression)).collect();
    used.sort_unstable();
    let declared: Vec<&str> = action["inputs"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(used, declared);
    for variable in env.keys() {
        assert!(text.contains(&format!("${variable}")), "{variable} is used");
    }
    for (name, output) in action["outputs"].as_object().unwrap() {
        assert_eq!(output["value"], format!("${{{{ steps.deploy.outputs.{name} }}}}"));
        assert!(text.contains(&format!("{name}=%s")), "{name} is written");
    }
    let place = Place::new();
    let script = place.write("step.sh", text);
    let checked = Command::new("shellcheck").args(["-s", "sh", "-e", "SC2317"]).arg(script).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn the_outputs_and_the_page_say_what_the_host_said() {
    for shell in SHELLS {
        let stand = Stand::new(&ends("committed", 0));
        let run = run(shell, &stand.place, &web1(&[("commit", COMMIT), ("key", "-----BEGIN\r\nabc")]));
        assert_eq!(run.code, 0, "{run:#?}");
        let expected = [
            ("audit", "7:ab"),
            ("code", "0"),
            ("commit", ""),
            ("job", "5-00000005"),
            ("previous", "/nix/store/o"),
            ("reachability", ""),
            ("reboot-reasons", ""),
            ("reboot-required", "no"),
            ("result", "committed"),
            ("system", "/nix/store/n"),
        ];
        assert!(run.outputs.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected), "{run:#?}");
        assert!(
            run.page.contains(
                "| result | **committed** (0) |\n| meaning | done, or already so |\n| job | 5-00000005 |\n"
            ),
            "{run:#?}"
        );
        assert_eq!(run.commands, ["::group::nixgate: switch on web1", "::endgroup::"], "{run:#?}");
        assert_eq!(stand.asked(), format!("switch {COMMIT}"));
        assert_eq!(stand.left(), 0, "the key and all else are gone");
    }
}

#[test]
fn a_failed_deploy_fails_the_step_with_its_code_and_an_annotation() {
    let stand = Stand::new(&ends("reverted", 21));
    let run = run(SHELLS[0], &stand.place, &web1(&[]));
    assert_eq!(
        (run.code, run.outputs["code"].as_str(), run.outputs["result"].as_str()),
        (21, "21", "reverted"),
        "{run:#?}"
    );
    let error = "::error title=nixgate::switch on web1: health check failed; the host is reverted (21)";
    assert_eq!(run.commands, ["::group::nixgate: switch on web1", "::endgroup::", error]);
    let stand = Stand::new("exit 255");
    let run = self::run(SHELLS[0], &stand.place, &web1(&[("tries", "1")]));
    assert_eq!((run.code, run.outputs["result"].as_str()), (69, "unreachable"), "{run:#?}");
    // Done, and something is left to do: a warning.
    let stand =
        Stand::new(&ends("committed", 0).replace("; }", "; } 2>&1 | sed s/required=no/required=yes/"));
    let run = self::run(SHELLS[0], &stand.place, &web1(&[]));
    assert!(
        run.code == 0 && run.commands[2].starts_with("::warning title=nixgate::web1 runs the new system"),
        "{run:#?}"
    );
}

#[test]
fn what_a_host_prints_is_obeyed_by_no_runner_and_writes_no_output() {
    let hostile = "printf '%b\\n' '::error::x' '  ::add-path::/tmp' 'a ##[error]x' '\\r::set-env name=A::b' '::stop-commands::x' '::x::' \
        'result=forged' 'nixgate: v=1 job=5-00000005 result=forged code=0'";
    for (answer, result) in [
        (ends("committed", 0).replace("verdict 5", &format!("{hostile}; verdict 5")), "committed"),
        (ends("'com|mitted`'", 0), ""),
    ] {
        let stand = Stand::new(&answer);
        let run = run(SHELLS[0], &stand.place, &web1(&[]));
        assert_eq!(run.code, 0, "{run:#?}");
        assert_eq!(run.outputs["result"], result, "{run:#?}");
        assert_eq!(run.commands, ["::group::nixgate: switch on web1", "::endgroup::"], "{run:#?}");
        assert!(!run.page.contains("forged") && !run.page.contains('`'), "{run:#?}");
    }
    // A status is text of the host's, too, and no summary.
    let stand = Stand::new("sent; printf 'result=forged\\n::error::x\\n'; exit 0");
    let run = run(SHELLS[0], &stand.place, &web1(&[("verb", "status")]));
    assert_eq!((run.code, run.outputs["result"].as_str(), run.commands.len()), (0, "", 2), "{run:#?}");
    assert!(run.log.contains("result=forged"), "{run:#?}");
}

#[test]
fn an_input_is_no_option_no_command_and_no_second_line() {
    let wrong: [&[(&str, &str)]; 9] = [
        &[("host", "-oProxyCommand=touch pwned")],
        &[("host", "web1\n::error::x")],
        &[("verb", "switch;touch pwned")],
        &[("verb", "--help")],
        &[("commit", "--no-confirm")],
        &[("commit", "$(touch pwned)")],
        &[("commit", "0123456789abcdef0123456789abcdef01234567\nresult=committed")],
        &[("confirm", "yes")],
        &[("port", "-1")],
    ];
    for more in wrong {
        let stand = Stand::new(&ends("committed", 0));
        let inputs: Vec<(&str, &str)> = more.iter().copied().chain(web1(&[])).collect();
        let run = run(SHELLS[0], &stand.place, &inputs);
        assert_eq!((run.code, stand.asked().as_str()), (64, ""), "{more:?} {run:#?}");
        assert_ne!(run.outputs.get("result").map(String::as_str), Some("committed"), "{run:#?}");
        assert!(!stand.place.path("pwned").exists() && !Path::new(ROOT).join("pwned").exists());
        assert_eq!(
            run.commands.iter().filter(|command| command.starts_with("::error")).count(),
            1,
            "{run:#?}"
        );
    }
    for missing in ["", " ", "\n"] {
        let stand = Stand::new(&ends("committed", 0));
        let run = run(SHELLS[0], &stand.place, &[("host", "web1"), ("known-hosts", missing)]);
        assert_eq!((run.code, stand.place.text("asked").as_str()), (64, ""), "{run:#?}");
        assert!(run.log.contains("known-hosts is missing") && run.log.contains("ssh-keyscan"), "{run:#?}");
    }
}

#[test]
fn the_key_is_a_file_of_ours_alone_and_gone_when_the_workflow_is_cancelled() {
    let stand = Stand::new(
        "for word; do [ \"$before\" != -i ] || key=$word; before=$word; done\n\
         { stat -c %a \"$key\"; cat \"$key\"; env; } >$stand/seen; sent; mkfifo $stand/go; echo up >$stand/up; exec cat $stand/go",
    );
    stand.place.write("answer", &stand.place.text("answer").replacen("for word", "before=''; for word", 1));
    let child = start(SHELLS[0], &stand.place, &web1(&[("key", "first\r\nsecond")]));
    let until = std::time::Instant::now() + host::LIMIT;
    while !stand.place.path("up").exists() {
        assert!(std::time::Instant::now() < until, "ssh was never called");
        std::thread::yield_now();
    }
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let told = Told::of(&child.wait_with_output().unwrap());
    assert_eq!(told.code, 143, "{told:#?}");
    let seen = stand.place.text("seen");
    assert!(seen.starts_with("600\nfirst\nsecond\n"), "{seen}");
    assert!(!seen["600\nfirst\nsecond\n".len()..].contains("second"), "not in an environment: {seen}");
    assert_eq!(stand.left(), 0, "the key is gone");
}

#[test]
fn the_page_on_ci_has_every_input_and_output() {
    let (action, page) = (action(), read("docs/ci.md"));
    for (name, input) in action["inputs"].as_object().unwrap() {
        let default = input.get("default").and_then(Value::as_str).filter(|text| !text.is_empty());
        let default = default.map_or(String::new(), |text| format!("`{text}`"));
        let row = format!("| `{name}` | {default} | {} |\n", input["description"].as_str().unwrap());
        assert!(page.contains(&row), "{row}");
    }
    for (name, output) in action["outputs"].as_object().unwrap() {
        let row = format!("| `{name}` | {} |\n", output["description"].as_str().unwrap());
        assert!(page.contains(&row), "{row}");
    }
    for (path, _) in workflows() {
        let name =
            path.strip_prefix(Path::new(ROOT).join("examples/workflows")).unwrap().display().to_string();
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
    }
}

// ---- the workflows ----------------------------------------------------------------------------------------------------

fn workflows() -> Vec<(PathBuf, String)> {
    let below = Path::new(ROOT).join("examples/workflows");
    let mut open = vec![below];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.push((path.clone(), fs::read_to_string(path).unwrap()));
        }
    }
    assert!(found.len() >= 5, "{found:?}");
    found
}

fn steps(workflow: &Value) -> Vec<&Value> {
    let jobs = workflow["jobs"].as_object().unwrap();
    jobs.values().flat_map(|job| job["steps"].as_array().unwrap()).collect()
}

/// The steps that use this action, with what they give it.
fn uses(workflow: &Value) -> Vec<BTreeMap<&str, &str>> {
    let ours = |step: &&Value| step["uses"].as_str().is_some_and(|uses| uses.contains("nixgate/nixgate@"));
    steps(workflow).into_iter().filter(ours).map(|step| map(&step["with"])).collect()
}

#[track_caller]
fn is_a_use_of_the_action(with: &BTreeMap<&str, &str>) {
    let action = action();
    let inputs = action["inputs"].as_object().unwrap();
    for name in with.keys() {
        assert!(inputs.contains_key(*name), "no input {name}");
    }
    for (name, input) in inputs {
        assert!(input.get("required").is_none() || with.contains_key(name.as_str()), "{name} is missing");
    }
}

#[test]
fn the_workflows_ask_for_little_pin_what_is_not_ours_and_keep_hosts_apart() {
    for (path, text) in workflows() {
        let workflow = yaml(&text);
        let keys: Vec<&str> = workflow.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["jobs", "name", "on", "permissions"], "{path:?}");
        assert_eq!(map(&workflow["permissions"]), BTreeMap::from([("contents", "read")]), "{path:?}");
        let given = uses(&workflow);
        assert!(!given.is_empty(), "{path:?}");
        given.iter().for_each(is_a_use_of_the_action);
        for job in workflow["jobs"].as_object().unwrap().values() {
            let known = ["concurrency", "environment", "needs", "runs-on", "steps"];
            assert!(job.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{path:?}");
            let deploys = job["steps"]
                .as_array()
                .unwrap()
                .iter()
                .any(|s| s["uses"].as_str().is_some_and(|u| u.contains("nixgate@")));
            if deploys {
                assert!(job["concurrency"]["group"].as_str().unwrap().starts_with("nixgate-"), "{path:?}");
                assert_eq!(job["concurrency"]["cancel-in-progress"], "false", "{path:?}");
            }
        }
        for step in steps(&workflow) {
            let known = ["env", "id", "if", "run", "uses", "with"];
            assert!(step.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{path:?}");
            assert!(
                step["run"].as_str().is_none_or(|run| !run.contains("${{")),
                "{path:?}: an expression in a program"
            );
            let Some(used) = step["uses"].as_str().filter(|used| !used.contains("nixgate/nixgate@")) else {
                continue;
            };
            let (_, pin) = used.split_once('@').unwrap();
            assert!(pin.len() == 40 && pin.bytes().all(|b| b.is_ascii_hexdigit()), "{path:?}: {used}");
            assert!(text.contains(&format!("{used} # v")), "{path:?}: the version beside the pin");
        }
    }
}

/// Forgejo's own ways of naming an action and a runner are not GitHub's, and all else is.
#[test]
fn actionlint_finds_nothing_where_it_is_installed() {
    let place = Place::new();
    let is_there = |path: &str| Path::new(path).is_file();
    let program = std::env::var("ACTIONLINT").ok().or_else(|| {
        std::env::split_paths(&std::env::var_os("PATH")?)
            .map(|dir| dir.join("actionlint").display().to_string())
            .find(|path| is_there(path))
    });
    let mut texts: Vec<String> = workflows().into_iter().map(|(_, text)| text).collect();
    texts.push(readme());
    let files = texts.iter().enumerate().map(|(n, text)| {
        let text = text
            .replace("uses: https://github.com/", "uses: ")
            .replace("runs-on: docker", "runs-on: ubuntu-latest");
        assert!(yaml(&text)["jobs"].is_object());
        place.write(&format!("{n}.yml"), &text)
    });
    let files: Vec<PathBuf> = files.collect();
    let Some(program) = program else { return };
    let output = Command::new(program).args(&files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The workflow of the README's section on CI.
fn readme() -> String {
    let text = read("README.md");
    let section = text.split("\n## From CI\n").nth(1).expect("a section `From CI`");
    let block = section
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a workflow in it");
    assert!(section.find("```yaml").unwrap() < section.find("\n## ").unwrap_or(usize::MAX));
    assert!(block.lines().count() <= 10, "at most ten lines:\n{block}");
    block.to_owned()
}

// ---- with a real host -------------------------------------------------------------------------------------------------

/// The README's workflow as it stands, with the host's real key in the place of `AAAA…` and real secrets; then the other
/// ends and a confirmation.
#[test]
fn the_workflow_of_the_readme_deploys_a_real_host_and_every_end_arrives() {
    let host = Host::boot();
    host.config_edit("mode = \"health\"", "mode = \"health\"\ntest = \"required\"");
    let place = Place::new();
    let text = readme();
    let workflow = yaml(&text);
    let with = uses(&workflow).remove(0);
    is_a_use_of_the_action(&with);
    let name = with["host"];
    let key = fs::read_to_string(host.keys().join("ci")).unwrap();
    let known = fs::read_to_string(host.keys().join("known_hosts")).unwrap();
    let real = known.split_whitespace().nth(2).unwrap();
    // The name that the pin is for is the one that the workflow names.
    let config = host
        .ssh_config()
        .replace("Host web1", &format!("Host {name}"))
        .replace("127.0.0.1\n", &format!("{name}\n"));
    let given = |with: &BTreeMap<&str, &str>, commit: &str| -> Vec<(String, String)> {
        let value = |value: &str| {
            value
                .replace("AAAA…", real.strip_prefix("ssh-ed25519 ").unwrap_or(real))
                .replace("${{ github.sha }}", commit)
                .replace("${{ secrets.DEPLOY_KEY }}", &key)
        };
        let mut all: Vec<(String, String)> = with.iter().map(|(k, v)| ((*k).to_owned(), value(v))).collect();
        assert!(all.iter().all(|(_, value)| !value.contains("${{")), "{all:?}");
        all.push(("ssh-config".to_owned(), config.clone()));
        all
    };
    let run = |given: Vec<(String, String)>, more: &[(&str, &str)]| {
        let all: Vec<(&str, &str)> =
            more.iter().copied().chain(given.iter().map(|(k, v)| (k.as_str(), v.as_str()))).collect();
        run(SHELLS[0], &place, &all)
    };
    let first = host.commit("v1", &Commit::signed());
    let good = run(given(&with, &first), &[]);
    assert_eq!((good.code, good.outputs["result"].as_str()), (0, "committed"), "{good:#?}");
    assert_eq!(good.outputs["commit"], first);
    assert_eq!(good.outputs["system"], host.triple().running);
    host.root(&format!("nixgatectl audit verify --at {}", good.outputs["audit"]));

    let second = host.commit("v2", &Commit::signed().fault("health-bad"));
    let bad = run(given(&with, &second), &[]);
    assert_eq!((bad.code, bad.outputs["result"].as_str()), (21, "reverted"), "{bad:#?}");
    assert_eq!(
        (bad.outputs["previous"].as_str(), host.version().as_str()),
        (host.triple().running.as_str(), "v1")
    );
    assert!(bad.commands.last().unwrap().starts_with("::error title=nixgate::"), "{bad:#?}");

    // Another host's key in the place of this one's: nothing is asked.
    let events = host.audit().len();
    let pin =
        format!("{name} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let stranger = run(given(&with, &first), &[("known-hosts", &pin)]);
    assert_eq!((stranger.code, stranger.outputs["result"].as_str()), (69, "unreachable"), "{stranger:#?}");
    assert!(stranger.log.contains("the host's key is not the pinned one"), "{stranger:#?}");
    assert_eq!(host.audit().len(), events);

    // The audit log still has what the first answer named; another head stops it.
    let head = good.outputs["audit"].as_str();
    let same = run(given(&with, &first), &[("expect-audit", head), ("verb", "fetch")]);
    assert_eq!(same.code, 0, "{same:#?}");
    let (number, _) = head.split_once(':').unwrap();
    let other = format!("{number}:{}", "0".repeat(64));
    let stopped = run(given(&with, &first), &[("expect-audit", &other), ("verb", "fetch")]);
    assert_eq!((stopped.code, stopped.outputs["result"].as_str()), (1, "not-asked"), "{stopped:#?}");

    // A trial that has to be confirmed is, over a second connection; or not, where a person is to do that.
    let third = host.commit("v3", &Commit::signed());
    let left = run(given(&with, &third), &[("verb", "test"), ("confirm", "false")]);
    assert_eq!((left.code, left.outputs["result"].as_str()), (22, "reverted"), "{left:#?}");
    let proven = run(given(&with, &third), &[("verb", "test")]);
    assert_eq!((proven.code, proven.outputs["reachability"].as_str()), (0, "proven"), "{proven:#?}");
    assert_eq!(host.version(), "v3");
    assert_eq!(fs::read_dir(place.path("tmp")).unwrap().count(), 0);
}

//! The programs that a job starts. What needs root asks PID 1; git and Nix do to the files of account nixgate what the
//! real ones would, for a source of a few commits (`/srv`) and systems that are in the store already.

use crate::pid1::DEPLOY;
use crate::wire::{Call, Reply, When, call};
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio, exit};

pub fn main(name: &str, words: &[String]) -> ExitCode {
    let asked: Vec<&str> = words.iter().map(String::as_str).collect();
    match name {
        "sudo" => end(ask(&Call::Sudo(words.to_vec()))),
        "systemctl" => end(ask(&Call::Systemctl(words.to_vec()))),
        "choom" | "prlimit" => {
            let at = asked.iter().position(|word| *word == "--").unwrap();
            // What they start is one of us, and comes cheaper without a new start.
            main(asked[at + 1].strip_prefix("/usr/bin/").unwrap(), &words[at + 2..])
        }
        "git" => git(&asked),
        "nix" => nix(&asked),
        "nix-instantiate" => {
            let commit = id_in(after("--expr", &asked));
            let place = commits().iter().position(|known| known == commit).unwrap() + 1;
            writes("nix-instantiate", || root(after("--add-root", &asked), &derivation(place)))
        }
        _ => nix_store(&asked),
    }
}

/// sshd's process of one connection: root's, with the gate below it.
pub fn sshd(words: &[String]) -> ExitCode {
    let mut gate = Command::new("/usr/bin/nixgate");
    gate.env_clear().env("SSH_ORIGINAL_COMMAND", &words[0]).uid(DEPLOY).gid(DEPLOY).current_dir("/");
    let status = gate.stdin(Stdio::null()).status().unwrap();
    ExitCode::from(u8::try_from(status.code().unwrap_or(255)).unwrap())
}

fn ask(asked: &Call) -> Reply {
    // Without PID 1 there is no host either.
    call(Path::new("/"), asked).unwrap_or_else(|| exit(255))
}

fn end(reply: Reply) -> ExitCode {
    let _ = std::io::stdout().write_all(reply.out.as_bytes());
    let _ = std::io::stderr().write_all(reply.err.as_bytes());
    ExitCode::from(u8::try_from(reply.code).unwrap_or(255))
}

/// An effect on the files of account nixgate.
fn writes(name: &str, act: impl FnOnce()) -> ExitCode {
    let before = ask(&Call::Tool(name.to_owned(), When::Before));
    if before.code != 0 {
        return end(before);
    }
    act();
    end(ask(&Call::Tool(name.to_owned(), When::After)))
}

fn after<'w>(word: &str, words: &[&'w str]) -> &'w str {
    words[words.iter().position(|w| *w == word).unwrap() + 1]
}

/// The commits of the source, oldest first.
fn commits() -> Vec<String> {
    fs::read_to_string("/srv/commits").unwrap().lines().map(str::to_owned).collect()
}

fn id_in(text: &str) -> &str {
    let (_, rest) = text.split_once("rev=").unwrap();
    &rest[..64]
}

/// The n-th commit makes the n-th system.
pub fn system(place: usize) -> String {
    format!("/nix/store/{}-nixos-system-demo", place.to_string().repeat(32))
}
fn derivation(place: usize) -> String {
    format!("{}.drv", system(place))
}

fn root(link: &str, target: &str) {
    crate::host::link(Path::new(link), Path::new(target));
}

fn git(words: &[&str]) -> ExitCode {
    let at = words.chunks(2).position(|pair| pair[0] != "-c").unwrap() * 2;
    let repository = PathBuf::from(std::env::var_os("GIT_DIR").unwrap());
    let tip = || fs::read_to_string("/srv/tip").unwrap();
    let reference = |name: &str, id: &str| {
        let path = repository.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{id}\n")).unwrap();
    };
    match &words[at..] {
        ["ls-remote", .., name] => end(Reply::text(format!("{}\t{name}\n", tip()))),
        ["init", ..] => writes("git init", || {
            for directory in ["objects/info", "objects/pack", "refs/heads"] {
                fs::create_dir_all(repository.join(directory)).unwrap();
            }
            fs::write(repository.join("config"), "").unwrap();
            fs::write(repository.join("HEAD"), "ref: refs/heads/verified\n").unwrap();
        }),
        ["fetch", .., spec] => writes("git fetch", || {
            for kind in ["pack", "idx"] {
                fs::write(repository.join(format!("objects/pack/pack-{}.{kind}", tip())), "").unwrap();
            }
            reference(spec.split_once(':').unwrap().1, &tip());
        }),
        ["update-ref", name, id] => writes("git update-ref", || reference(name, id)),
        ["cat-file", "--batch"] => {
            let wanted = std::io::read_to_string(std::io::stdin()).unwrap();
            let object = |id: &str| {
                let raw = fs::read_to_string(format!("/srv/objects/{id}")).unwrap();
                format!("{id} commit {}\n{raw}\n", raw.len())
            };
            end(Reply::text(wanted.lines().map(object).collect::<String>()))
        }
        ["index-pack", ..] => ExitCode::SUCCESS,
        // No file: a flake without inputs.
        ["cat-file", ..] => ExitCode::from(128),
        ["merge-base", "--is-ancestor", first, second] => {
            let place = |id: &str| commits().iter().position(|known| known == id);
            ExitCode::from(u8::from(place(first) > place(second)))
        }
        other => end(Reply { code: 97, err: crate::pid1::unknown("git", other), out: String::new() }),
    }
}

fn nix(words: &[&str]) -> ExitCode {
    let does = |what: &[&str]| words.windows(what.len()).any(|part| part == what);
    if does(&["config", "show"]) {
        end(Reply::text("sandbox = true\nsandbox-fallback = false\ntrusted-users = root\n"))
    } else if does(&["store", "info"]) {
        end(Reply::text("{\"trusted\":false}\n"))
    } else if does(&["flake", "metadata"]) || does(&["store", "verify"]) {
        ExitCode::SUCCESS
    } else if does(&["build"]) {
        let system = words.last().unwrap().strip_suffix(".drv^out").unwrap();
        writes("nix build", || root(after("--out-link", words), system))
    } else {
        end(Reply { code: 97, err: crate::pid1::unknown("nix", words), out: String::new() })
    }
}

fn nix_store(words: &[&str]) -> ExitCode {
    match words {
        ["--realise", path, ..] if Path::new(path).exists() => {
            writes("nix-store", || root(after("--add-root", words), path))
        }
        ["--realise", ..] => ExitCode::from(1),
        // A system that refers to nothing else.
        ["--query", "--requisites", path] => end(Reply::text(format!("{path}\n"))),
        _ => end(Reply { code: 97, err: crate::pid1::unknown("nix-store", words), out: String::new() }),
    }
}

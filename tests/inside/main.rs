//! The exam in process: every state of a job × every fault, against the real `nixgate-job`, on a host that is a model.
//!
//! One program in many parts. As the exam it makes benches (`bench`): directories that are a host's root, each in
//! namespaces of its own, so that all of it dies at once. In there it is PID 1 (`pid1`, with the host's pointers in
//! `host`), and it stands in for the programs that the job starts (`standin`), by the name under which it is called.
//! The gate, the job and `nixgatectl` are the real ones, over real sockets, as their own accounts.
//!
//! `INSIDE=all cargo test --test inside` runs the whole product. Words after `--` choose rows whose text has one of them.
#![cfg(feature = "host")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::exit,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod bench;
mod damage;
mod disk;
mod exam;
mod host;
mod pid1;
mod product;
mod scenario;
mod standin;
mod sweep;
mod units;
mod verdict;
mod wire;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let name = Path::new(&words[0]).file_name().unwrap().to_string_lossy().into_owned();
    match name.as_str() {
        "pid1" => pid1::main(Path::new(&words[1])),
        "sshd" => standin::sshd(&words[1..]),
        "sudo" | "systemctl" | "git" | "nix" | "nix-store" | "nix-instantiate" | "choom" | "prlimit" => {
            standin::main(&name, &words[1..])
        }
        _ => exam::main(&words[1..]),
    }
}

//! The forced command and login shell of account `deploy`. See `nixgate::gate`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    nixgate::gate::run()
}

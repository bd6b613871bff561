use nixgate::decide::answer::Code;
use nixgate::decide::privileged::Platform;
use nixgate::job;
use std::process::ExitCode;

/// `nixgate-job serve|recover --platform nixos|fhs`: the units that `nixgatectl render` writes are its callers.
fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).filter_map(|word| word.into_string().ok()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["serve", "--platform", name] => Platform::parse(name).map(job::serve),
        ["recover", "--platform", name] => Platform::parse(name).map(job::recover_only),
        _ => None,
    }
    .unwrap_or_else(|| Code::Misconfigured.into())
}

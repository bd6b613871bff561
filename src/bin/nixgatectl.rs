fn main() -> std::process::ExitCode {
    nixgate::ctl::main()
}

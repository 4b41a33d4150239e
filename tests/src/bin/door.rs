//! The program `pgharness`, for tests that start it.

fn main() -> std::process::ExitCode {
    pgharness::cli::run(std::env::args_os())
}

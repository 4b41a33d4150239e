//! The command line; everything lives in the library.

fn main() -> std::process::ExitCode {
    pgharness::cli::run(std::env::args_os())
}

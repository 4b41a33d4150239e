//! Signals to processes that are known by their number.

use rustix::process::{Pid, kill_process, test_kill_process};
use std::io;

pub use rustix::process::Signal;

/// Sends a signal to one process.
///
/// # Errors
/// It is not there, or not ours.
pub(crate) fn send(pid: i32, signal: Signal) -> io::Result<()> {
    Ok(kill_process(known(pid)?, signal)?)
}

/// Whether there is a process of that number, ours or not.
pub(crate) fn is_there(pid: i32) -> bool {
    known(pid).is_ok_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Whether a process is stopped by a signal; `None` where the system does not tell.
#[cfg(feature = "explore")]
pub(crate) fn is_stopped(pid: i32) -> Option<bool> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name may have anything in it but ends with the last parenthesis.
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.trim_start().starts_with('T'))
}

/// The number of one process: others stand for groups of them.
fn known(pid: i32) -> io::Result<Pid> {
    let one = (pid > 0).then(|| Pid::from_raw(pid)).flatten();
    one.ok_or_else(|| io::Error::from(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(target_os = "linux", feature = "explore"))]
    fn who_runs_is_not_stopped() {
        assert_eq!(is_stopped(std::process::id().cast_signed()), Some(false));
        assert_eq!(is_stopped(-1), None);
    }

    #[test]
    fn groups_are_no_processes() {
        for pid in [0, -1, i32::MIN] {
            assert!(!is_there(pid));
            assert!(send(pid, Signal::CONT).is_err());
        }
        assert!(is_there(std::process::id().cast_signed()));
    }
}

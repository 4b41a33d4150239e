//! A program to run: built by value, then run to its end or started.

use super::{Signal, User};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::wait::{self, Look};
use rustix::process::{Pid, WaitOptions, kill_process_group, waitpid};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A program with its arguments and surroundings.
#[derive(Debug)]
pub struct Program {
    command: Command,
    shown: String,
    user: Option<User>,
    deadline: Duration,
    ends_with_us: bool,
    output: Option<File>,
}

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub struct Finished {
    /// The exit status.
    pub status: ExitStatus,
    /// Standard output, whole.
    pub stdout: Vec<u8>,
    /// Standard error, whole.
    pub stderr: Vec<u8>,
}

impl Program {
    /// The program at `path`, or found by that name.
    #[expect(clippy::disallowed_methods, reason = "this is the room that starts processes")]
    pub fn new(path: impl AsRef<OsStr>) -> Self {
        let path = path.as_ref();
        let shown = Path::new(path).file_name().unwrap_or(path).to_string_lossy().into_owned();
        let mut command = Command::new(path);
        command.stdin(Stdio::null());
        Program {
            command,
            shown,
            user: None,
            deadline: Duration::from_secs(120),
            ends_with_us: false,
            output: None,
        }
    }

    /// A command line for `/bin/sh`.
    pub fn shell(line: &str) -> Self {
        let mut program = Program::new("/bin/sh").arg("-c").arg(line);
        program.shown = line.to_owned();
        program
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts from an empty environment but for a plain `PATH` and the C locale.
    #[must_use]
    pub fn with_plain_environment(mut self) -> Self {
        self.command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LC_ALL", "C");
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Feeds an open file to standard input.
    #[must_use]
    pub fn stdin(mut self, file: File) -> Self {
        self.command.stdin(file);
        self
    }

    /// Runs as another user; only root may.
    #[must_use]
    pub fn as_user(mut self, user: Option<User>) -> Self {
        self.user = user;
        self
    }

    /// Ends it when it has not ended by then; 120 seconds if not set.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Has the kernel kill it when the thread that started it ends, where the kernel can (Linux): for helpers
    /// that are waited for, so that a killed test leaves none behind.
    #[must_use]
    pub fn ends_with_us(mut self) -> Self {
        self.ends_with_us = true;
        self
    }

    /// Sends standard output and standard error of a [`start`](Program::start)ed program to `file`.
    #[must_use]
    pub fn output(mut self, file: File) -> Self {
        self.output = Some(file);
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It cannot be started, or it runs past its deadline (it is killed then, with its descendants). A
    /// non-zero exit status is no error here: see [`Finished::check`].
    pub fn run(mut self) -> Result<Finished> {
        let (mut stdout, mut stderr) = (capture_file()?, capture_file()?);
        let shown = self.shown.clone();
        let deadline = self.deadline;
        let clone = |file: &File| {
            file.try_clone().attempt(ErrorKind::Environment, || "failed to copy a descriptor".into())
        };
        self.command.stdout(clone(&stdout)?).stderr(clone(&stderr)?);
        let mut running = self.spawn()?;
        let status = wait::until(&format!("`{shown}` to end"), deadline, || match running.try_status()? {
            Some(status) => Ok(Look::Ready(status)),
            None => Ok(Look::NotYet("still running".into())),
        })?;
        Ok(Finished { status, stdout: read_back(&mut stdout)?, stderr: read_back(&mut stderr)? })
    }

    /// As [`run`](Program::run), on a thread of its own, for callers in a runtime.
    ///
    /// # Errors
    /// As [`run`](Program::run).
    pub async fn run_async(self) -> Result<Finished> {
        tokio::task::spawn_blocking(move || self.run()).await.map_err(|cause| {
            Error::environment("the thread that waited for a program ended").with_source(cause)
        })?
    }

    /// Starts it and goes on. It is killed with its descendants when the handle is dropped.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut self) -> Result<Running> {
        match self.output.take() {
            Some(file) => {
                let copy = file
                    .try_clone()
                    .attempt(ErrorKind::Environment, || "failed to copy a descriptor".into())?;
                self.command.stdout(file).stderr(copy);
            }
            None => {
                self.command.stdout(Stdio::null()).stderr(Stdio::null());
            }
        }
        self.spawn()
    }

    /// Runs it to its end on our own terminal, for a program that people type into. Ctrl-C is the program's
    /// meanwhile.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run_on_terminal(mut self) -> Result<ExitStatus> {
        self.command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        // SAFETY: no handler of our own is set, and the child takes the default back.
        let before = unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
        // SAFETY: between fork and exec the closure makes one async-signal-safe system call.
        unsafe {
            self.command.pre_exec(|| match libc::signal(libc::SIGINT, libc::SIG_DFL) {
                libc::SIG_ERR => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let status = self.command.status();
        if before != libc::SIG_ERR {
            // SAFETY: what was set before is set again.
            unsafe { libc::signal(libc::SIGINT, before) };
        }
        status.attempt(ErrorKind::Environment, || {
            format!("failed to start `{}`", PathBuf::from(self.command.get_program()).display())
        })
    }

    fn spawn(mut self) -> Result<Running> {
        if let Some(user) = &self.user {
            self.command.uid(user.uid).gid(user.gid);
        }
        let ends_with_us = self.ends_with_us;
        // SAFETY: between fork and exec the closure makes only async-signal-safe system calls.
        unsafe { self.command.pre_exec(move || detach_from_parent(ends_with_us)) };
        let child = self.command.spawn().map_err(|cause| {
            let path = PathBuf::from(self.command.get_program());
            Error::environment(format!("failed to start `{}`", path.display())).with_source(cause)
        })?;
        Ok(Running { child, shown: self.shown, ended: None })
    }
}

/// In the child: a session of its own, and none of our descriptors.
fn detach_from_parent(ends_with_us: bool) -> std::io::Result<()> {
    // SAFETY: plain system calls on plain numbers.
    unsafe {
        libc::setsid();
        #[cfg(target_os = "linux")]
        {
            if ends_with_us {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            }
            const CLOSE_RANGE_CLOEXEC: u32 = 4;
            libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, CLOSE_RANGE_CLOEXEC);
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = ends_with_us;
            for descriptor in 3..256 {
                libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
    Ok(())
}

fn capture_file() -> Result<File> {
    tempfile::tempfile().attempt(ErrorKind::Environment, || {
        format!("failed to create a temporary file in `{}`", std::env::temp_dir().display())
    })
}

fn read_back(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .attempt(ErrorKind::Environment, || "failed to read a program's output".into())?;
    Ok(bytes)
}

impl Finished {
    /// Standard output as text, trimmed.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Standard error as text, trimmed.
    pub fn complaint(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }

    /// Turns a failure into an error that tells the exit status and the last lines of standard error.
    ///
    /// # Errors
    /// The exit status is not zero; `what` is a fragment such as "failed to unpack `a.tgz`".
    pub fn check(self, kind: ErrorKind, what: impl FnOnce() -> String) -> Result<Finished> {
        if self.status.success() {
            return Ok(self);
        }
        let complaint = self.complaint();
        let lines: Vec<&str> = complaint.lines().collect();
        let tail = lines[lines.len().saturating_sub(12)..].join("\n");
        let status = describe(self.status);
        let message = if tail.is_empty() {
            format!("{}: {status}", what())
        } else {
            format!("{}: {status}: {tail}", what())
        };
        Err(Error::new(kind, message))
    }
}

/// An exit status in words.
fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// A program that runs; killed with its descendants when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    shown: String,
    ended: Option<ExitStatus>,
}

impl Running {
    /// Its process id, which is that of its process group too.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn try_status(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .attempt(ErrorKind::Environment, || format!("failed to wait for `{}`", self.shown))?;
        }
        Ok(self.ended)
    }

    /// Sends a signal to it and its descendants.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // The group may be gone already; then there is nothing to signal.
            let _ = kill_process_group(Pid::from_child(&self.child), signal);
        }
    }

    /// Lets it live on without us; somebody else ends it. While we live a thread waits for its end: without that
    /// it would stay as a zombie.
    pub fn leave(mut self) {
        let ended = self.ended.replace(ExitStatus::default()).is_some();
        if ended {
            return;
        }
        let pid = Pid::from_child(&self.child);
        // Without a thread the zombie stays until we end, which harms nobody.
        let _ = std::thread::Builder::new()
            .name("pgharness-reaper".into())
            .stack_size(64 << 10)
            .spawn(move || waitpid(Some(pid), WaitOptions::empty()));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() && matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
            // SIGKILL cannot be held back: the wait is short.
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_are_told_apart() {
        let finished = Program::shell("echo out; echo err >&2; exit 3").run().unwrap();
        assert_eq!((finished.text().as_str(), finished.complaint().as_str()), ("out", "err"));
        let error = finished.check(ErrorKind::Environment, || "failed to greet".into()).unwrap_err();
        assert_eq!(error.to_string(), "failed to greet: exited with status 3: err");
    }

    #[test]
    fn a_program_past_its_deadline_is_killed_with_its_descendants() {
        let marker = tempfile::NamedTempFile::new().unwrap();
        let line = format!("sh -c 'echo $$ > {}; exec sleep 600'", marker.path().display());
        let error = Program::shell(&line).deadline(Duration::from_millis(300)).run().unwrap_err();
        assert!(error.to_string().contains("gave up after 300ms"), "{error}");
        let pid: i32 = std::fs::read_to_string(marker.path()).unwrap().trim().parse().unwrap();
        wait::until("the grandchild to end", Duration::from_secs(5), || {
            Ok(match crate::process::is_there(pid) {
                false => Look::Ready(()),
                true => Look::NotYet("alive".into()),
            })
        })
        .unwrap();
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Program::new("/nowhere/at/all").run().unwrap_err();
        assert_eq!(error.to_string(), "failed to start `/nowhere/at/all`");
    }
}

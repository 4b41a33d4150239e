//! Bad surroundings: what is said, and what is done instead.

use crate::field::{Field, assert_well};
use pgharness::notice;
use pgharness::process::{Program, User};
use pgharness::wait::{self, Look};
use pgharness_tests::{Participant, Story, Trouble};
use rstest::rstest;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file system in memory, as long as this lives.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// `None`, with a notice, where we may not mount one.
    fn mount(options: &str) -> Option<Tmpfs> {
        let dir = tempfile::Builder::new().prefix("kt-").rand_bytes(4).tempdir_in("/tmp").unwrap();
        let mounted = Program::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("{options},mode=777"), "pgharness-test"])
            .arg(dir.path())
            .run()
            .is_ok_and(|finished| finished.status.success());
        if !mounted {
            assert!(!pgharness::env::is_required("mount"), "no file system can be mounted");
            notice::skipped("mount", "since no file system can be mounted");
            return None;
        }
        Some(Tmpfs(dir))
    }

    fn path(&self) -> String {
        self.0.path().display().to_string()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // As long as a server lives there it is busy; what it leaves goes with it.
        let _ = wait::until("the file system to be idle", Duration::from_secs(20), || {
            let unmounted = Program::new("umount").arg(self.0.path()).run()?;
            Ok(if unmounted.status.success() { Look::Ready(()) } else { Look::NotYet(unmounted.complaint()) })
        });
    }
}

/// The one trouble of a participant that could get nothing.
fn refusal(story: &Story) -> &str {
    match story.troubles.as_slice() {
        [(Trouble::Get, text)] => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_small_file_system_is_passed_over_and_named_when_it_is_the_only_one() {
    let field = Field::new(0);
    let Some(small) = Tmpfs::mount("size=64m") else { return };
    let once = Participant::once(&field.workspace("w"));
    let field = field.with("PGHARNESS_DATA_ROOTS", small.path());
    let story = field.run(&once);
    assert_eq!(
        refusal(&story),
        format!(
            "found no place for a data directory: `{}`: 64 MiB free, 256 needed\\n  \
             help: free some room, or name folders with room in PGHARNESS_DATA_ROOTS",
            small.path()
        )
    );
    let both = format!("{}:{}", small.path(), field.root().display());
    let field = field.with("PGHARNESS_DATA_ROOTS", both);
    let story = field.run(&once);
    assert_well(std::slice::from_ref(&story));
    assert!(!story.servers[0].starts_with(&small.path()), "{:?}", story.servers);
}

#[rstest]
#[case::ahead("PGHARNESS_AHEAD", "many", "`PGHARNESS_AHEAD=many` is not a number")]
#[case::offline("PGHARNESS_OFFLINE", "perhaps", "`PGHARNESS_OFFLINE=perhaps` is neither `1` nor `0`")]
#[case::grace("PGHARNESS_GRACE_MS", "3s", "`PGHARNESS_GRACE_MS=3s` is not a number")]
#[case::servers("PGHARNESS_SERVERS_MAX", "-1", "`PGHARNESS_SERVERS_MAX=-1` is not a number")]
#[case::size("PGHARNESS_DATABASES_MIB_MAX", "2G", "`PGHARNESS_DATABASES_MIB_MAX=2G` is not a number")]
#[case::keep("PGHARNESS_KEEP", "some", "unknown value `some` of PGHARNESS_KEEP")]
#[case::roots(
    "PGHARNESS_DATA_ROOTS",
    "/dev/shn:/dev/shn/more",
    "`/dev/shn`, which PGHARNESS_DATA_ROOTS names, is no folder"
)]
fn a_variable_that_cannot_be_read_is_named(
    #[case] name: &'static str,
    #[case] value: &str,
    #[case] start: &str,
) {
    let field = Field::new(0);
    let once = Participant::once(&field.workspace("w"));
    let story = field.with(name, value).run(&once);
    assert!(refusal(&story).starts_with(start) && refusal(&story).contains("help: "), "{story:?}");
}

#[test]
fn a_full_file_system_is_told_to_the_test_that_waits() {
    let field = Field::new(0);
    let Some(disk) = Tmpfs::mount("size=330m") else { return };
    let workspace = field.workspace("w");
    // Some 30 MiB a database, so that few fill it.
    fs::write(
        workspace.join("seed.sql"),
        "create table mark (writer int); create table seeded as select n, md5(n::text) as text from generate_series(1, 500) n;
         create table bulk as select n, repeat(md5(n::text), 60) as text from generate_series(1, 15000) n",
    )
    .unwrap();
    let field = field.with("PGHARNESS_DATA_ROOTS", disk.path()).with("PGHARNESS_AHEAD", "0");
    // It holds what there is room for, and waits for more.
    let many = Participant { count: 4, hold: 4, ..Participant::once(&workspace) };
    let story = field.run(&many);
    assert!(story.databases == 4 && !story.troubles.is_empty(), "{story:?}");
    for (trouble, text) in &story.troubles {
        assert_eq!(*trouble, Trouble::Get, "{text}");
        assert!(text.contains("MiB") && text.contains("help: "), "{text}");
    }
    // It was not the end of the server: the databases have gone, and there is room again.
    assert_well(&[field.run(&Participant::once(&workspace))]);
}

#[test]
fn a_root_whose_path_is_too_long_for_a_socket_is_named_with_its_length() {
    let field = Field::new(0);
    let long = field.root().join("a".repeat(70));
    fs::create_dir(&long).unwrap();
    let once = Participant::once(&field.workspace("w"));
    let story = field.with("PGHARNESS_DATA_ROOTS", long.display().to_string()).run(&once);
    assert!(refusal(&story).contains("its path is too long for a unix socket"), "{story:?}");
}

#[test]
fn folders_with_odd_names_are_used() {
    let field = Field::new(0);
    let odd = field.root().join("a \"b', c$(d)*");
    fs::create_dir(&odd).unwrap();
    fs::set_permissions(&odd, PermissionsExt::from_mode(0o777)).unwrap();
    let cache = field.scratch().join("an 'odd', \"cache\"");
    let workspace = field.workspace("w");
    let odd_field = field
        .with("PGHARNESS_CACHE", cache.display().to_string())
        .with("PGHARNESS_DATA_ROOTS", odd.display().to_string());
    let first = odd_field.run(&Participant::once(&workspace));
    wait_until_parked_in(&odd);
    let second = odd_field.run(&Participant::once(&workspace));
    assert_well(&[first.clone(), second]);
    assert!(first.servers[0].starts_with(&odd.display().to_string()), "{first:?}");
    // Its second run found what the first one had parked.
    assert_eq!(fs::read_to_string(workspace.join("built")).unwrap().lines().count(), 1);
    wait_until_parked_in(&odd);
}

/// Waits until parked data is all that lies there.
fn wait_until_parked_in(root: &Path) {
    wait::until("the server to park its data", Duration::from_secs(30), || {
        let names: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let is_parked = names.iter().all(|name| name.to_string_lossy().starts_with("pgp-"));
        Ok(if is_parked && names.len() == 1 { Look::Ready(()) } else { Look::NotYet(format!("{names:?}")) })
    })
    .unwrap();
}

/// What the look at the free room cannot foresee, the server tells: a table that outgrows the file system while a
/// template is migrated, and more files than it takes while the server clones.
#[rstest]
#[case::migrating("size=330m", 500_000, "failed to load fixture `seed.sql`: could not extend file")]
#[case::cloning("size=800m,nr_inodes=4000", 10, "failed to clone template")]
fn a_server_that_finds_no_room_tells_all_who_wait(
    #[case] options: &str,
    #[case] rows: u32,
    #[case] told: &str,
) {
    let field = Field::new(0);
    let Some(disk) = Tmpfs::mount(options) else { return };
    let workspace = field.workspace("w");
    let seed = format!(
        "create table mark (writer int); create table seeded as select n, md5(n::text) as text from generate_series(1, 500) n;
         create table bulk as select n, repeat(md5(n::text), 60) as text from generate_series(1, {rows}) n"
    );
    fs::write(workspace.join("seed.sql"), seed).unwrap();
    let go = field.scratch().join("go");
    let field = field.with("PGHARNESS_DATA_ROOTS", disk.path()).with("PGHARNESS_AHEAD", "0");
    let many = Participant { count: 4, hold: 4, after: Some(go.clone()), ..Participant::once(&workspace) };
    let started: Vec<_> = (0..4).map(|_| field.start(&many)).collect();
    fs::write(&go, "").unwrap();
    let stories: Vec<Story> = started.into_iter().map(|started| started.end()).collect();
    let troubles: Vec<_> = stories.iter().flat_map(|story| &story.troubles).collect();
    // A server that finds no room for its own log ends everybody's session: then a test loses its connection.
    let (refused, lost): (Vec<_>, Vec<_>) =
        troubles.into_iter().partition(|(trouble, _)| *trouble == Trouble::Get);
    assert!(!refused.is_empty(), "{stories:#?}");
    assert!(lost.iter().all(|(_, text)| text.contains("communicating with database")), "{lost:#?}");
    for (_, text) in refused {
        let is_clear = text.starts_with(told) && text.contains("53100") && text.contains("help: ");
        assert!(is_clear, "{text}");
    }
    // Nobody was left without an answer, and the server with all its files went in the end.
    assert!(stories.iter().all(|story| story.databases == 4), "{stories:#?}");
    wait::until("the base to go", Duration::from_secs(30), || {
        let names: Vec<_> = fs::read_dir(&disk.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let is_gone = names.iter().all(|name| name.to_string_lossy().starts_with("pgp-"));
        Ok(if is_gone { Look::Ready(()) } else { Look::NotYet(format!("{names:?}")) })
    })
    .unwrap();
}

#[test]
fn an_ordinary_user_without_a_home_is_served() {
    let Some(nobody) = User::named("nobody").filter(|_| nix::unistd::Uid::effective().is_root()) else {
        assert!(!pgharness::env::is_required("root"), "only root can become somebody else");
        notice::skipped("root", "since only root can become somebody else");
        return;
    };
    let field = Field::new(0);
    let workspace = field.workspace("w");
    // No HOME and no cache named: the one in the temporary folder is taken.
    let tmp = field.scratch().join("tmp");
    fs::create_dir(&tmp).unwrap();
    fs::set_permissions(&tmp, PermissionsExt::from_mode(0o777)).unwrap();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_participant"));
    if !can_be_run_by(&nobody, &program) {
        notice::skipped("root", "since `nobody` cannot reach the participant's program");
        return;
    }
    let field = field.with("PGHARNESS_CACHE", "").with("TMPDIR", tmp.display().to_string()).with_user(nobody);
    let story = field.run(&Participant::once(&workspace));
    assert_well(&[story]);
    let caches: Vec<_> = fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(caches, ["pgharness-65534"]);
}

fn can_be_run_by(user: &User, program: &Path) -> bool {
    Program::new(program)
        .arg("--help")
        .as_user(Some(user.clone()))
        .run()
        .is_ok_and(|end| end.status.success())
}

#[test]
fn a_cache_that_cannot_be_made_is_named() {
    let field = Field::new(0);
    let file = field.scratch().join("file");
    fs::write(&file, "").unwrap();
    let cache = file.join("cache").display().to_string();
    let once = Participant::once(&field.workspace("w"));
    let story = field.with("PGHARNESS_CACHE", cache.clone()).run(&once);
    assert!(refusal(&story).starts_with(&format!("failed to create the folder `{cache}`")), "{story:?}");
}

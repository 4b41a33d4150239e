//! The keeper, with many processes at once: cold starts, newcomers at the moment of retirement, what the next
//! run finds.

use crate::field::{Field, Started, assert_well};
use pgharness::postgres::{Installation, Request};
use pgharness::process::{Program, User};
use pgharness::server::ServerConfig;
use pgharness::wait::{self, Look};
use pgharness::{Isolation, Template};
use pgharness_tests::{Participant, REALMS, Story, Stunt};
use rstest::rstest;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).unwrap().lines().count()
}

#[test]
fn a_cold_start_of_many_processes_in_two_checkouts_starts_one_server_each() {
    let field = Field::new(500);
    let go = field.scratch().join("go");
    let workspaces = [field.workspace("one"), field.workspace("two")];
    let started: Vec<Started> = (0..16)
        .map(|number| {
            let once = Participant::once(&workspaces[number % 2]);
            field.start(&Participant { count: 3, after: Some(go.clone()), ..once })
        })
        .collect();
    fs::write(&go, "").unwrap();
    let stories: Vec<Story> = started.into_iter().map(Started::end).collect();
    assert_well(&stories);
    let servers: BTreeSet<&String> = stories.iter().flat_map(|story| &story.servers).collect();
    assert_eq!(servers.len(), 2, "{servers:?}");
    // One template on each, built by one process for all; one data directory prepared for both.
    assert_eq!(workspaces.map(|workspace| lines(&workspace.join("built"))), [1, 1]);
    let prepared: Vec<_> = fs::read_dir(field.cache().join("initdb")).unwrap().collect();
    assert_eq!(prepared.len(), 1, "{prepared:?}");
}

#[test]
fn a_data_directory_is_prepared_once_for_all_processes_and_checkouts() {
    let field = Field::new(0);
    let runs = field.scratch().join("initdb-runs");
    fs::write(&runs, "").unwrap();
    fs::set_permissions(&runs, PermissionsExt::from_mode(0o666)).unwrap();
    let bin = counting(&field.scratch().join("installation/bin"), &runs);
    let field = field.with("PGHARNESS_INSTALLATION", bin.display().to_string());
    let go = field.scratch().join("go");
    let workspaces = [field.workspace("one"), field.workspace("two")];
    let started: Vec<Started> = (0..16)
        .map(|number| {
            let once = Participant::once(&workspaces[number % 2]);
            field.start(&Participant { after: Some(go.clone()), ..once })
        })
        .collect();
    fs::write(&go, "").unwrap();
    let stories: Vec<Story> = started.into_iter().map(Started::end).collect();
    assert_well(&stories);
    assert_eq!(lines(&runs), 1);
}

/// An installation that runs the programs of the one that is tested, and notes each run of `initdb`.
fn counting(bin: &Path, runs: &Path) -> PathBuf {
    let real = Installation::find(&Request::from_env().unwrap()).unwrap();
    fs::create_dir_all(bin).unwrap();
    for (name, note) in
        [("postgres", String::new()), ("initdb", format!("echo run >>'{}'\n", runs.display()))]
    {
        let script = format!("#!/bin/sh\n{note}exec '{}' \"$@\"\n", real.program(name).display());
        fs::write(bin.join(name), script).unwrap();
        fs::set_permissions(bin.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    bin.to_owned()
}

#[cfg(target_os = "linux")]
#[test]
fn a_keeper_that_can_start_no_process_ends_its_server() {
    let field = Field::new(300);
    let working = field.start(&Participant { count: u64::MAX, ..Participant::once(&field.workspace("w")) });
    let postmaster = wait::until("the postmaster", Duration::from_secs(30), || {
        let is_heard = !fs::read_to_string(working.output()).unwrap().is_empty();
        let base = field.names("pgh-").pop().filter(|_| is_heard);
        let file = base
            .and_then(|base| fs::read_to_string(field.root().join(base).join("data/postmaster.pid")).ok());
        Ok(match file.and_then(|text| text.lines().next()?.parse::<i32>().ok()) {
            Some(pid) => Look::Ready(pid),
            None => Look::NotYet("not ready".into()),
        })
    })
    .unwrap();
    let place = field.root().display().to_string();
    let mut keepers = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains("\0pgkeeper\0") && line.contains(&place) {
            keepers.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    assert_eq!(keepers.len(), 2);
    // As the one who is limited: nothing more is needed for that than to be the same user.
    let allow = |pid: &str, processes: u32| {
        let limit = format!("--nproc={processes}:");
        let program = Program::new("prlimit").args([&limit, "--pid", pid]).as_user(User::for_server());
        program.run().unwrap().status.success()
    };
    assert!(keepers.iter().all(|pid| allow(pid, 0)));
    drop(working);
    let since = Instant::now();
    wait::until("the server to end", Duration::from_secs(60), || {
        // Some shells try again for ever instead of ending; those go on once they can.
        if since.elapsed() > Duration::from_secs(5) {
            keepers.retain(|pid| !allow(pid, 10_000));
        }
        Ok(match nix::sys::signal::kill(nix::unistd::Pid::from_raw(postmaster), None) {
            Err(_) => Look::Ready(()),
            Ok(()) => Look::NotYet("it lives".into()),
        })
    })
    .unwrap();
    // What is left of it is removed by whoever comes next.
    assert_well(&[field.run(&Participant::once(&field.workspace("w")))]);
}

#[test]
fn newcomers_at_the_moment_of_retirement_are_served() {
    let field = Field::new(200);
    let once = Participant::once(&field.workspace("w"));
    assert_well(&[field.run(&once)]);
    let mut servers = BTreeSet::new();
    for round in 0..25u64 {
        // Around the moment when the grace of the last one ends, and the 100 ms that the keeper rounds it to.
        pause(Duration::from_millis(150 + (round * 37) % 160));
        let started: Vec<Started> = (0..4).map(|_| field.start(&once)).collect();
        let stories: Vec<Story> = started.into_iter().map(Started::end).collect();
        assert_well(&stories);
        servers.extend(stories.into_iter().flat_map(|story| story.servers));
    }
    // Not all came before it retired, else this would show nothing.
    assert!(servers.len() > 2, "{servers:?}");
}

#[test]
fn the_next_run_migrates_nothing_and_finds_no_database_of_the_last_one() {
    let field = Field::new(0);
    let workspace = field.workspace("w");
    let first = field.run(&Participant { count: 4, hold: 3, ..Participant::once(&workspace) });
    field.wait_until_parked();
    let second = field.run(&Participant::once(&workspace));
    assert_well(&[first.clone(), second.clone()]);
    assert_ne!(first.servers, second.servers);
    assert_eq!(lines(&workspace.join("built")), 1);
    assert_eq!(open_leases(&field), Vec::<PathBuf>::new());
}

/// Owners who may have left something.
fn open_leases(field: &Field) -> Vec<PathBuf> {
    let owners = homes(field).into_iter().flat_map(|home| fs::read_dir(home.join("owners")).unwrap());
    owners.map(|owner| owner.unwrap().path()).collect()
}

fn homes(field: &Field) -> Vec<PathBuf> {
    fs::read_dir(field.cache().join("servers")).unwrap().map(|home| home.unwrap().path()).collect()
}

#[tokio::test]
async fn a_template_whose_maker_was_killed_before_it_had_its_name_is_dropped() {
    let field = Field::new(0);
    let once = Participant::once(&field.workspace("w"));
    let working = field.start(&Participant { count: u64::MAX, ..once.clone() });
    let socket = wait::until("a server", Duration::from_secs(30), || {
        let is_heard = !fs::read_to_string(working.output()).unwrap().is_empty();
        Ok(match is_heard.then(|| socket_of(&field)).flatten() {
            Some(socket) => Look::Ready(socket),
            None => Look::NotYet("no socket".into()),
        })
    })
    .unwrap();
    let mut control = socket.connect().await.unwrap();
    // In the state that it has between the two statements which publish it.
    control.execute("create database pgh_b_0123456789abcdef_0 is_template true").await.unwrap();
    fs::write(homes(&field)[0].join("owners/0123456789abcdef"), "").unwrap();
    assert_well(&[field.run(&once)]);
    let left: Vec<String> =
        sqlx::query_scalar("select datname::text from pg_database where datname ~ '^pgh_b'")
            .fetch_all(&mut control)
            .await
            .unwrap();
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(open_leases(&field).len(), 1, "only that of the one at work");
    drop(working);
}

/// The way into the field's one server.
fn socket_of(field: &Field) -> Option<PgConnectOptions> {
    let base = field.root().join(field.names("pgh-").first()?);
    let names = fs::read_dir(&base).ok()?.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let port = names.filter_map(|name| name.strip_prefix(".s.PGSQL.")?.parse().ok()).next()?;
    Some(
        PgConnectOptions::new_without_pgpass()
            .socket(base)
            .port(port)
            .username("postgres")
            .database("postgres"),
    )
}

#[rstest]
#[case::fork(Stunt::Fork, 4)]
#[case::exit(Stunt::Exit, 0)]
#[case::panic(Stunt::Panic, 4)]
fn whatever_a_process_does_it_goes_on_and_leaves_nothing(#[case] stunt: Stunt, #[case] databases: u64) {
    let field = Field::new(0);
    let suite =
        Participant { count: 4, hold: 9, stunt: Some(stunt), ..Participant::once(&field.workspace("w")) };
    let story = field.run(&suite);
    assert_well(std::slice::from_ref(&story));
    assert_eq!(story.databases, databases);
    assert_eq!(open_leases(&field), Vec::<PathBuf>::new());
}

#[test]
fn one_process_may_hold_more_databases_than_its_share_of_connections() {
    let field = Field::new(0);
    let story = field.run(&Participant { count: 40, hold: 40, ..Participant::once(&field.workspace("w")) });
    assert_well(std::slice::from_ref(&story));
    assert_eq!(story.databases, 40);
}

#[test]
fn an_idle_server_makes_room_for_another_within_the_cap() {
    let field = Field::new(0).with("PGHARNESS_SERVERS_MAX", "2");
    let suite = Participant { count: 8, realms: REALMS, ..Participant::once(&field.workspace("w")) };
    let story = field.run(&suite);
    assert_well(std::slice::from_ref(&story));
    assert_eq!(story.databases, 8);
}

#[test]
fn parked_data_that_is_broken_is_replaced() {
    let field = Field::new(0);
    let workspace = field.workspace("w");
    assert_well(&[field.run(&Participant::once(&workspace))]);
    field.wait_until_parked();
    let parked = field.root().join(&field.names("pgp-")[0]);
    fs::remove_dir_all(parked.join("data/base")).unwrap();
    assert_well(&[field.run(&Participant::once(&workspace))]);
    assert_eq!(lines(&workspace.join("built")), 2);
}

#[test]
fn templates_beyond_their_number_go_when_nobody_uses_them() {
    let field = Field::new(0);
    let workspace = field.workspace("w");
    let seed = fs::read_to_string(workspace.join("seed.sql")).unwrap();
    for number in 0..11 {
        fs::write(workspace.join("seed.sql"), format!("{seed}\nselect {number}")).unwrap();
        assert_well(&[field.run(&Participant::once(&workspace))]);
        field.wait_until_parked();
    }
    let kept = field.run(&Participant { stunt: Some(Stunt::Fail), ..Participant::once(&workspace) }).kept;
    let sql = "select count(*) from pg_database where datname ^@ 'pgh_t_'";
    let left = field.door(&workspace, &["psql", &kept[0], "--", "-XAtc", sql]).text();
    assert_eq!((lines(&workspace.join("built")), left.as_str()), (11, "8"));
}

#[test]
fn tests_that_change_roles_run_beside_each_other_on_servers_of_their_own() {
    let field = Field::new(0);
    let own = Participant { cluster: true, count: 2, ..Participant::once(&field.workspace("w")) };
    let started: Vec<Started> = (0..8).map(|_| field.start(&own)).collect();
    let stories: Vec<Story> = started.into_iter().map(Started::end).collect();
    assert_well(&stories);
    let servers: BTreeSet<&String> = stories.iter().flat_map(|story| &story.servers).collect();
    assert_eq!(servers.len(), 16, "{servers:?}");
}

/// Root may put things beside a server that its keeper, an ordinary user, cannot remove.
#[tokio::test]
async fn a_keeper_that_cannot_remove_its_directory_ends() {
    let dir = tempfile::tempdir().unwrap();
    let here = ServerConfig::from_env(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let own = Template::builder(dir.path()).with_isolation(Isolation::Cluster).with_server(here).build();
    let db = own.get().await.unwrap();
    let base = db.server().base().unwrap().to_owned();
    fs::create_dir(base.join("strange")).unwrap();
    fs::write(base.join("strange/file"), "").unwrap();
    drop(db);
    wait::until_async("the keeper to end", Duration::from_secs(60), async || {
        Ok(match processes_of(&base) {
            0 => Look::Ready(()),
            count => Look::NotYet(format!("{count} processes")),
        })
    })
    .await
    .unwrap();
    let is_root = nix::unistd::Uid::effective().is_root();
    assert_eq!(base.exists(), is_root);
    if is_root {
        fs::remove_dir_all(&base).unwrap();
    }
}

/// How many processes have the path in their command line.
fn processes_of(path: &Path) -> usize {
    let lines = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(&*path.to_string_lossy())).count()
}

#[test]
fn a_killed_server_is_replaced_for_those_who_go_on() {
    let field = Field::new(0);
    // It ends when it has seen two servers, not at a time: how long the first one takes is the machine's affair.
    let churn = Participant { count: u64::MAX, servers: 2, ..Participant::once(&field.workspace("w")) };
    let started = field.start(&churn);
    let pid = wait::until("the postmaster", Duration::from_secs(30), || {
        let file =
            field.names("pgh-").first().map(|base| field.root().join(base).join("data/postmaster.pid"));
        let ready = file.and_then(|file| fs::read_to_string(file).ok()).filter(|text| {
            text.contains("ready") && !fs::read_to_string(started.output()).unwrap().is_empty()
        });
        Ok(match ready.and_then(|text| text.lines().next()?.parse::<i32>().ok()) {
            Some(pid) => Look::Ready(pid),
            None => Look::NotYet("not ready".into()),
        })
    })
    .unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    let story = started.end();
    // Only the use of databases of the dying server may fail; the next one is had from another server.
    let refused: Vec<_> =
        story.troubles.iter().filter(|(trouble, _)| *trouble != pgharness_tests::Trouble::Use).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert!(story.troubles.len() < 10, "{:?}", story.troubles);
    assert_eq!(story.servers.len(), 2, "{:?}", story.servers);
}

#[expect(clippy::disallowed_methods, reason = "the moment of retirement is the point")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

//! The keeper, with many processes at once: cold starts, newcomers at the moment of retirement, what the next
//! run finds.

use crate::field::{Field, Started, assert_well};
use pgharness::wait::{self, Look};
use pgharness_tests::{Participant, REALMS, Story, Stunt};
use rstest::rstest;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    let homes = fs::read_dir(field.cache().join("servers")).unwrap();
    let owners = homes.flat_map(|home| fs::read_dir(home.unwrap().path().join("owners")).unwrap());
    owners.map(|owner| owner.unwrap().path()).collect()
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

#[test]
fn a_killed_server_is_replaced_for_those_who_go_on() {
    let field = Field::new(0);
    let churn = Participant { for_ms: 10_000, count: u64::MAX, ..Participant::once(&field.workspace("w")) };
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

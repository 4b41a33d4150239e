//! Databases that failed tests leave: found and opened when their server runs, when it has stopped, and not when
//! its data are gone.

use crate::field::{Field, assert_well};
use pgharness::process::Finished;
use pgharness::wait::{self, Look};
use pgharness_tests::{Participant, Stunt};
use rstest::rstest;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A participant whose tests fail, so many as are wanted.
fn failing(workspace: &Path, count: u64) -> Participant {
    Participant { count, stunt: Some(Stunt::Fail), ..Participant::once(workspace) }
}

/// Runs it; gives the databases that it left.
fn fail(field: &Field, participant: &Participant) -> Vec<String> {
    let story = field.run(participant);
    assert_well(std::slice::from_ref(&story));
    assert_eq!(story.kept.len() as u64, participant.count);
    story.kept
}

fn list(field: &Field, dir: &Path) -> Vec<String> {
    let listed = field.door(dir, &["psql", "--list"]);
    assert!(listed.status.success(), "{}", listed.complaint());
    listed.text().lines().map(str::to_owned).collect()
}

fn open(field: &Field, dir: &Path, database: &str) -> Finished {
    let sql = "select current_database(), count(*) from mark";
    field.door(dir, &["psql", database, "--", "-XAtc", sql])
}

#[rstest]
#[case::common(1, |one| one)]
#[case::bootstrap(1, |one| Participant { realms: 1, ..one })]
#[case::found_out(2, |one| Participant { creates_role: true, ..one })]
fn a_kept_database_outlives_its_server(
    #[case] servers: usize,
    #[case] of_template: fn(Participant) -> Participant,
) {
    let field = Field::new(0);
    let workspace = field.workspace("w");
    let inside = workspace.join("src");
    fs::create_dir(&inside).unwrap();
    let kept = fail(&field, &of_template(failing(&workspace, 1))).remove(0);
    // The second time it is opened, it was parked by the first.
    for dir in [&inside, Path::new("/")] {
        field.wait_until_so_many_are_parked(servers);
        let listed = list(&field, &inside);
        let [line] = listed.as_slice() else { panic!("{listed:?}") };
        assert!(line.starts_with(&kept) && line.ends_with(" a participant"), "{line}");
        let opened = open(&field, dir, &kept);
        assert_eq!(opened.text(), format!("{kept}|50"), "{}", opened.complaint());
    }
    field.wait_until_so_many_are_parked(servers);
    assert_eq!(list(&field, &field.workspace("another")), ["none is kept"]);
}

#[test]
fn beyond_their_number_the_oldest_kept_databases_go() {
    let field = Field::new(0);
    let workspace = field.workspace("w");
    let mut kept = fail(&field, &failing(&workspace, 23));
    field.wait_until_parked();
    let mut listed: Vec<String> = list(&field, &workspace)
        .iter()
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    listed.sort();
    let mut left = kept.split_off(3);
    let opened = open(&field, &workspace, &left[0]);
    assert_eq!(opened.text(), format!("{}|50", left[0]), "{}", opened.complaint());
    left.sort();
    assert_eq!(listed, left);
    for gone in kept {
        let opened = open(&field, &workspace, &gone);
        assert_eq!(opened.status.code(), Some(2));
        assert!(
            opened.complaint().contains(&format!("no database `{gone}` is kept")),
            "{}",
            opened.complaint()
        );
    }
}

#[test]
fn what_went_with_a_killed_server_is_not_offered() {
    let field = Field::new(0);
    let workspace = field.workspace("w");
    let kept = fail(&field, &failing(&workspace, 1)).remove(0);
    field.wait_until_parked();
    let arguments = ["psql", &kept, "--", "-XAtc", "select pg_sleep(600)"];
    let mut looking = field.door_program(&workspace, &arguments).start().unwrap();
    let postmaster = wait::until("the server to run", Duration::from_secs(60), || {
        let base = field.names("pgh-").pop();
        let file = base.map(|base| field.root().join(base).join("data/postmaster.pid"));
        let text = file.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        let pid = text.lines().next().and_then(|pid| pid.parse().ok());
        Ok(match pid.filter(|_| text.contains("ready")) {
            Some(pid) => Look::Ready(pid),
            None => Look::NotYet(format!("{text:?}")),
        })
    })
    .unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(postmaster), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    wait::until("psql and the server to end", Duration::from_secs(60), || {
        let ended = looking.try_status()?.is_some() && field.names("pgh-").is_empty();
        Ok(if ended { Look::Ready(()) } else { Look::NotYet(format!("{:?}", field.names("pgh-"))) })
    })
    .unwrap();
    // The next server of the same key has other data, and says nothing else.
    for another in [false, true] {
        if another {
            assert_well(&[field.run(&Participant::once(&workspace))]);
        }
        let listed = list(&field, &workspace);
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert!(listed[0].starts_with(&kept) && listed[0].ends_with("(gone with the data of its server)"));
        let opened = open(&field, &workspace, &kept);
        assert_eq!(opened.status.code(), Some(2));
        let complaint = opened.complaint();
        assert!(complaint.contains("is gone with the data of its server"), "{complaint}");
        assert!(complaint.contains("only after a clean stop"), "{complaint}");
    }
}

#[test]
fn a_kept_database_that_was_dropped_by_hand_is_said_to_be() {
    let field = Field::new(0);
    let workspace = field.workspace("w");
    let kept = fail(&field, &failing(&workspace, 2));
    let drop = format!("drop database {}", kept[0]);
    let dropped = field.door(&workspace, &["psql", &kept[1], "--", "-Xc", &drop]);
    assert!(dropped.status.success(), "{}", dropped.complaint());
    let complaint = open(&field, &workspace, &kept[0]).complaint();
    assert!(complaint.contains("was kept, and has been dropped since"), "{complaint}");
}

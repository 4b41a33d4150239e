//! Databases that a process leaves to others when it ends, as under a runner that starts one per test.

use crate::field::{Field, assert_well};
use nix::sys::signal::Signal;
use pgharness_tests::{Participant, Story, Stunt};
use std::collections::HashSet;
use std::time::Duration;

fn one(field: &Field) -> Participant {
    Participant::once(&field.workspace("app"))
}

/// Runs so many, one after the other.
fn run_some(field: &Field, participant: &Participant, count: usize) -> Vec<Story> {
    let stories: Vec<Story> = (0..count).map(|_| field.run(participant)).collect();
    assert_well(&stories);
    assert!(stories.iter().all(|story| story.databases == 1 && story.servers == stories[0].servers));
    stories
}

fn ids(stories: &[Story]) -> HashSet<u32> {
    stories.iter().flat_map(|story| story.ids.iter().copied()).collect()
}

/// Each participant counts what is not the template's, and adds, changes and deletes rows.
#[test]
fn a_process_gets_what_another_left_as_the_template_has_it() {
    let field = Field::new(5000);
    let stories = run_some(&field, &one(&field), 24);
    assert!(ids(&stories).len() < stories.len() / 2, "hardly any was handed on: {stories:#?}");
}

#[test]
fn what_more_than_rows_was_done_to_is_not_handed_on() {
    let field = Field::new(5000);
    let altered = Participant { sql: Some("create table added (n int)".into()), ..one(&field) };
    let altered = run_some(&field, &altered, 6);
    let later = run_some(&field, &one(&field), 12);
    assert!(ids(&altered).is_disjoint(&ids(&later)), "{altered:#?} {later:#?}");
    assert_eq!(ids(&altered).len(), altered.len());
}

#[test]
fn processes_at_once_share_no_database() {
    let field = Field::new(5000);
    let participant = one(&field);
    run_some(&field, &participant, 2);
    for _ in 0..3 {
        let started: Vec<_> = (0..16).map(|_| field.start(&participant)).collect();
        let stories: Vec<Story> = started.into_iter().map(|started| started.end()).collect();
        assert_well(&stories);
        assert!(stories.iter().all(|story| story.databases == 1), "{stories:#?}");
    }
}

/// At moments that are spread over all that a process does, the putting back of others' databases included.
#[test]
fn what_a_killed_process_had_is_never_handed_out() {
    let field = Field::new(5000);
    let participant = one(&field);
    run_some(&field, &participant, 2);
    for round in 0..40_u64 {
        let killed = field.start(&participant);
        std::thread::park_timeout(Duration::from_micros(round * 900));
        killed.kill(Signal::SIGKILL);
        let _ = killed.end();
        run_some(&field, &participant, 1 + (round % 3) as usize);
    }
}

#[test]
fn a_process_that_exits_with_its_databases_leaves_none_that_is_dirty() {
    let field = Field::new(5000);
    let participant = one(&field);
    for stunt in [Stunt::Exit, Stunt::Fork, Stunt::Panic] {
        let _ = field.run(&Participant { stunt: Some(stunt), count: 3, ..participant.clone() });
        run_some(&field, &participant, 3);
    }
}

/// Several in one process: those are put back in it, and handed on at its end.
#[test]
fn a_process_of_many_tests_hands_on_what_it_put_back() {
    let field = Field::new(5000);
    let many = Participant { count: 20, hold: 3, ..one(&field) };
    let stories: Vec<Story> = (0..3).map(|_| field.run(&many)).collect();
    assert_well(&stories);
    let [first, second, _] = stories.as_slice() else { panic!("there are three") };
    assert!(!ids(std::slice::from_ref(first)).is_disjoint(&ids(std::slice::from_ref(second))));
}

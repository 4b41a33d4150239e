//! Room for databases: what is made where there is little.

use crate::field::{Field, assert_well};
use pgharness_tests::{Participant, Story};

/// A server with as little data as there can be has databases of 6 to 8 MiB.
fn field(mib_max: u64) -> (Field, Participant) {
    let field = Field::new(5000).with("PGHARNESS_DATABASES_MIB_MAX", mib_max.to_string());
    let participant = Participant::once(&field.workspace("app"));
    (field, participant)
}

/// Four templates leave no room for a clone of each.
#[test]
fn clones_that_nobody_uses_make_room_for_those_of_another_template() {
    let (field, participant) = field(46);
    for _ in 0..2 {
        let story = field.run(&Participant { count: 16, vary: 2, ..participant.clone() });
        assert_well(&[story]);
    }
}

/// Two at a time: the others wait, each in a process of its own.
#[test]
fn tests_wait_for_the_databases_of_others() {
    let (field, participant) = field(23);
    assert_well(&[field.run(&participant)]);
    let slow = Participant { sql: Some("select pg_sleep(0.3)".into()), ..participant };
    let started: Vec<_> = (0..6).map(|_| field.start(&slow)).collect();
    let stories: Vec<Story> = started.into_iter().map(|started| started.end()).collect();
    assert_well(&stories);
    assert!(stories.iter().all(|story| story.databases == 1), "{stories:#?}");
}

/// Not even for one: nobody waits for what cannot come.
#[test]
fn a_test_that_finds_no_room_at_all_is_told_so() {
    let (field, participant) = field(3);
    let story = field.run(&participant);
    let troubles = format!("{:?}", story.troubles);
    assert!(troubles.contains("would exceed the cap of 3 MiB"), "{troubles}");
    assert!(troubles.contains("PGHARNESS_DATABASES_MIB_MAX"), "{troubles}");
}

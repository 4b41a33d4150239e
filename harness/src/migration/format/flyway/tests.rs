use super::*;
use crate::ident::QualifiedName;
use crate::migration::format::folder;
use crate::migration::ledger::Ledger;
use crate::migration::{Migrations, problems};
use rstest::rstest;
use std::fs;

#[test]
fn the_checksum_is_that_of_the_lines() {
    assert_eq!(checksum("select 1;\nselect 2;\n"), -593479011);
    assert_eq!(checksum("select 1;\r\nselect 2;"), -593479011);
}

#[test]
fn versions_are_compared_by_their_numbers() {
    let dir = folder(&[
        ("V1.10__c.sql", "select 1;"),
        ("more/V1_9__b_b.sql", "select 1;"),
        ("U1.9__b.sql", "select 1;"),
        ("R__views.sql", "select 1;"),
        ("V01.0__a.sql", "select 1;"),
    ]);
    let migrations = Migrations::load(dir.path(), Format::Auto).unwrap();
    let found: Vec<_> = migrations
        .iter()
        .map(|one| (one.version.to_string(), one.description.as_str(), one.down.is_some(), one.turn))
        .collect();
    assert_eq!(
        found,
        [
            ("1".to_owned(), "a", false, Turn::InOrder),
            ("1.9".to_owned(), "b b", true, Turn::InOrder),
            ("1.10".to_owned(), "c", false, Turn::InOrder),
            ("R__views".to_owned(), "views", false, Turn::Repeatable),
        ]
    );
}

#[test]
fn a_baseline_stands_for_what_came_before_it() {
    let dir = folder(&[
        ("V1__a.sql", "select 1;"),
        ("V2__b.sql", "select 1;"),
        ("V3__c.sql", "select 1;"),
        ("B2__all.sql", "select 1;"),
    ]);
    let migrations = Migrations::load(dir.path(), Format::Flyway).unwrap();
    assert_eq!(migrations.iter().map(|one| one.version.to_string()).collect::<Vec<_>>(), ["B2", "3"]);
}

#[rstest]
#[case("V1__a.sql.conf", "executeInTransaction=false", "select 1;", Delivery::Statements)]
#[case("x.txt", "", "-- flyway:executeInTransaction=false\nselect 1;", Delivery::Statements)]
#[case("x.txt", "", "create index concurrently i on t (a);\nvacuum t;", Delivery::Statements)]
#[case("x.txt", "", "select 1;", Delivery::Transaction)]
fn a_transaction_is_left_in_three_ways(
    #[case] beside: &str,
    #[case] says: &str,
    #[case] text: &str,
    #[case] delivery: Delivery,
) {
    let dir = folder(&[("V1__a.sql", text), (beside, says)]);
    let migrations = Migrations::load(dir.path(), Format::Flyway).unwrap();
    assert_eq!(migrations.iter().next().unwrap().delivery, delivery);
}

#[test]
fn placeholders_have_the_values_of_the_configuration() {
    let dir = folder(&[
        ("flyway.conf", "# x\nflyway.placeholders.Owner = app\nflyway.table=ops.applied\n"),
        ("sql/V1__a.sql", "select '${owner}', '${flyway:filename}';"),
    ]);
    let listing = Listing::read(&dir.path().join("sql")).unwrap();
    let reading = Layout::read(&Flyway, &listing).unwrap();
    assert_eq!(reading.migrations[0].sql(), "select 'app', 'V1__a.sql';");
    assert_eq!(
        reading.migrations[0].checksum,
        Some(checksum("select '${owner}', '${flyway:filename}';").to_string())
    );
    assert_eq!(reading.table, Some(TableName::parse("ops.applied")));
    fs::remove_file(dir.path().join("flyway.conf")).unwrap();
    fs::write(dir.path().join("flyway.toml"), "[flyway.placeholders]\nowner = 'app'\n").unwrap();
    assert_eq!(Layout::read(&Flyway, &listing).unwrap().migrations[0].sql(), "select 'app', 'V1__a.sql';");
}

#[rstest]
#[case(
    "select 1;\nselect '${nobody}';",
    "has the placeholder `${nobody}`, for which no value is known",
    "V1__a.sql:2:9"
)]
#[case("select 1;\nvacuum;", "mixes this statement", "V1__a.sql:2:1")]
fn what_flyway_refuses_is_shown(#[case] text: &str, #[case] what: &str, #[case] place: &str) {
    let dir = folder(&[("V1__a.sql", text)]);
    let error = Migrations::load(dir.path(), Format::Flyway).unwrap_err();
    assert!(error.to_string().contains(what) && error.to_string().contains(place), "{error}");
}

#[test]
fn a_callback_is_refused_by_name() {
    let dir = folder(&[("V1__a.sql", "select 1;"), ("afterMigrate.sql", "select 1;")]);
    let error = Migrations::load(dir.path(), Format::Flyway).unwrap_err();
    assert_eq!(error.to_string(), "`afterMigrate.sql` is a callback, which flyway alone runs at its time");
}

#[rstest]
#[case(&["V1__a.sql", "V1.0__b.sql"], ProblemKind::Duplicate)]
#[case(&["V1__a.sql", "V2_b.sql"], ProblemKind::Ignored)]
#[case(&["V1__a.sql", "U2__b.sql"], ProblemKind::NoUp)]
fn odd_names_are_told(#[case] names: &[&str], #[case] kind: ProblemKind) {
    let dir = folder(&names.iter().map(|name| (*name, "select 1;")).collect::<Vec<_>>());
    let found = problems(dir.path(), Format::Flyway).unwrap();
    assert!(found.iter().any(|problem| problem.kind == kind && problem.fatal), "{found:?}");
}

#[test]
fn the_lock_is_that_of_the_table() {
    let table = QualifiedName::new("public", "flyway_schema_history");
    assert_eq!(Flyway.locks("any", &table), [77_433_833_903_597]);
}

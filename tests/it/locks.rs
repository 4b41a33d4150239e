//! What others come to feel of a migration that locks tables.

use crate::checks::{project, projects, run};
use pgharness::check::Registry;
use pgharness::report::Report;
use pgharness::suite::Config;
use std::fs;

fn figure(report: &Report, name: &str) -> f64 {
    report.measurements.iter().find(|one| one.name == name).unwrap().value
}

#[tokio::test]
async fn the_queue_behind_a_migration_that_waits_is_tried() {
    let root = projects();
    let registry = Registry::standard();
    let check = registry.find("migration.locks").unwrap();
    let example = check.examples().iter().find(|example| example.file == "bad_no_timeout.sql").unwrap();
    let dir = root.path().join("queue");
    fs::create_dir(&dir).unwrap();
    let report = run(&project(&dir, check, example), check.id()).await;
    assert_eq!(figure(&report, "migration.locks.queues").to_bits(), 1.0_f64.to_bits());
    assert!(figure(&report, "migration.locks.waited in a queue") > 0.0);
    let steps = &report.findings[0].evidence;
    let seen: Vec<&str> =
        steps.iter().filter(|step| step.role.is_none()).map(|step| step.result.as_str()).collect();
    assert_eq!(
        seen,
        [
            "pg_blocking_pids: the migration waits for the first, and the second for the migration",
            "the migration gives up, and the second reads while the first stays",
        ]
    );
}

/// Keys of all kinds, a parent, and a trigger that refuses: none of it keeps rows out.
const TABLES: &str = "
    create table teams (id bigint generated always as identity primary key);
    create table users (
        id bigint generated always as identity primary key,
        team_id bigint not null references teams,
        email text not null unique,
        handle varchar(20) not null,
        seen timestamp not null,
        place smallint not null check (place > 0),
        unique (team_id, handle)
    );
    create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
    create trigger refuse before insert on users for each row when (new.place > 1) execute function refuse();";

#[tokio::test]
async fn who_comes_while_a_large_table_is_written_anew_waits_and_no_row_stays() {
    let root = projects();
    let dir = root.path().join("large");
    fs::create_dir_all(dir.join("migrations")).unwrap();
    let files = [
        ("0001_users.sql", TABLES),
        ("0002_seen.sql", "set local lock_timeout = '5s'; alter table users alter column seen type text;"),
        // With a row in the table this fails.
        ("0003_new.sql", "set local lock_timeout = '5s'; alter table users add column born date not null;"),
        ("0004_index.sql", "set local lock_timeout = '5s'; create index on users (seen);"),
    ];
    for (name, sql) in files {
        fs::write(dir.join("migrations").join(name), sql).unwrap();
    }
    fs::write(dir.join("pgharness.toml"), "").unwrap();
    let report = run(&Config::load(&dir.join("pgharness.toml")).unwrap(), "migration.locks").await;
    let shown: Vec<(&str, &str)> = report
        .findings
        .iter()
        .filter_map(|finding| {
            let step = finding.evidence.iter().find(|step| step.sql.contains("20000 rows"))?;
            Some((finding.subject.name.as_str(), step.result.as_str()))
        })
        .collect();
    let [(rewrite, both), (index, writer)] = shown[..] else { panic!("{:#?}", report.findings) };
    assert_eq!((rewrite, index), ("0002_seen.sql", "0004_index.sql"));
    assert!(both.starts_with("who came to read waited about "), "{both}");
    assert!(writer.starts_with("who came to write to `public.users` waited about "), "{writer}");
    let longest = figure(&report, "migration.locks.readers kept out");
    assert!(longest > 1.0 && figure(&report, "migration.locks.writers kept out") > 1.0, "{longest}");
}

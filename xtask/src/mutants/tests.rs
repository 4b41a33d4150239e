//! A small project, broken in every family of ways.

use super::operator::{Operator, all};
use super::*;

const CONFIG: &str = "[migrations]\nformat = \"sqlx\"\n";
const PEOPLE: &str = "create schema crm;
create table crm.people (
    id bigint generated always as identity primary key,
    name text not null check (name <> ''),
    note text,
    seen timestamptz not null default now()
);
create index people_seen_idx on crm.people (seen);
alter table crm.people enable row level security;
create policy own on crm.people using (name = current_user);
";
const ORDERS: &str = "create table crm.orders (
    id bigint primary key,
    person bigint not null references crm.people (id),
    state text not null default 'new'
);
create function crm.total(person bigint) returns bigint language sql stable
    return (select count(*) from crm.orders where orders.person = total.person);
grant select on crm.orders to pg_monitor;
";

/// A shop's notes, one table of them, and the service that writes them.
const TENANTS: &str = "[postgres]
bootstrap = [\"roles.sql\"]
[migrations]
format = \"sqlx\"
[tenancy]
model = \"rls\"
column = \"shop\"
setting = \"app.shop\"
roles = [\"clerk\"]
[access.matrix.clerk]
\"crm.notes\" = [\"select\", \"insert\", \"update\"]
";
const ROLES: &str = "create role clerk login;";
const NOTES: &str = "create schema crm;
grant usage on schema crm to clerk;
create table crm.notes (
    shop uuid not null,
    id uuid not null default gen_random_uuid(),
    line text not null,
    primary key (shop, id)
);
alter table crm.notes enable row level security;
alter table crm.notes force row level security;
create policy own on crm.notes using (shop = nullif(current_setting('app.shop', true), '')::uuid);
grant select, insert, update on crm.notes to clerk;
";

fn mutants(config: PathBuf, operators: &[&str]) -> Mutants {
    Mutants {
        config: Some(config),
        operators: operators.iter().map(|name| (*name).to_owned()).collect(),
        sample: Some(1),
        seed: 1,
        jobs: 3,
        evidence: 4,
        format: Format::Json,
    }
}

/// Hunts in the small project.
async fn hunt(operators: &[&str]) -> Tally {
    let files = [("pgharness.toml", CONFIG), ("0001_people.sql", PEOPLE), ("0002_orders.sql", ORDERS)];
    hunt_in(&files, operators).await
}

/// Hunts in a project of these files.
async fn hunt_in(files: &[(&str, &str)], operators: &[&str]) -> Tally {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("migrations")).unwrap();
    for (name, text) in files {
        let is_migration = name.starts_with(|c: char| c.is_ascii_digit());
        let place = if is_migration { dir.path().join("migrations") } else { dir.path().to_owned() };
        std::fs::write(place.join(name), text).unwrap();
    }
    mutants(dir.path().join("pgharness.toml"), operators).hunt().await.unwrap()
}

#[tokio::test]
async fn what_is_broken_by_hand_is_found_and_its_transcript_shows_it() {
    let tally = hunt(&[
        "column.*",
        "constraint.drop",
        "index.*",
        "policy.widen",
        "grant.revoke",
        "function.volatility",
    ])
    .await;
    assert!(tally.holds(), "{}", tally.text());
    assert!(tally.text().contains("4 transcripts pasted into psql, 0 do not show it"), "{}", tally.text());
}

#[tokio::test]
async fn files_that_are_broken_are_found() {
    let tally = hunt(&[
        "statement.*",
        "file.swap",
        "name.*",
        "secret.*",
        "search-path.leak",
        "leave.not-valid",
        "history.forget",
        "contract.drop-column",
    ])
    .await;
    assert!(tally.holds(), "{}", tally.text());
    let json: serde_json::Value = serde_json::from_str(&tally.json()).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["mutants"], json["found"]);
    assert!(
        json["missed"].as_array().unwrap().is_empty() && json["false_alarms"].as_array().unwrap().is_empty()
    );
    assert!(json["equivalent"].is_u64());
}

#[tokio::test]
async fn what_opens_a_tenants_rows_or_a_roles_rights_is_found_by_the_attack() {
    let files = [("pgharness.toml", TENANTS), ("roles.sql", ROLES), ("0001_notes.sql", NOTES)];
    let operators = ["tenant.policy-open", "view.of-owner", "key.global", "matrix.delete", "role.bypassrls"];
    let tally = hunt_in(&files, &operators).await;
    assert!(tally.holds(), "{}", tally.text());
    let json: serde_json::Value = serde_json::from_str(&tally.json()).unwrap();
    assert_eq!(json["mutants"], operators.len(), "{json}");
}

#[test]
fn a_survivor_breaks_the_bar_and_an_equivalent_one_does_not() {
    let operator = *all().first().unwrap();
    let tally = |outcomes: Vec<Outcome>| {
        let mut tally = Tally::default();
        tally.expect(&operator, outcomes.len());
        let site = site::Site::live("crm.people", "select 1");
        let mutant = Mutant { operator, site };
        outcomes.into_iter().for_each(|outcome| tally.count(&mutant, outcome));
        tally
    };
    let found = || Outcome::Found(Found { check: "drift.live".into(), evidence: vec![] });
    let missed = || Outcome::Missed { got: vec!["drift.model".into()], reason: "it says nothing".into() };
    assert!(tally(vec![found(), Outcome::Equivalent, Outcome::Stillborn("no".into())]).holds());
    assert!(!tally(vec![Outcome::Equivalent]).holds(), "nothing was tried");
    let survived = tally(vec![found(), missed()]);
    assert!(!survived.holds());
    let json: serde_json::Value = serde_json::from_str(&survived.json()).unwrap();
    assert_eq!((&json["mutants"], &json["found"]), (&2.into(), &1.into()));
    let survivor = &json["missed"][0];
    assert_eq!(survivor["id"], format!("{} crm.people", operator.name));
    assert_eq!(survivor["operator"], operator.name);
    assert_eq!(survivor["expected"], "drift.live");
    assert_eq!(survivor["got"][0], "drift.model");
}

#[test]
fn an_unknown_operator_is_told() {
    let error = mutants("pgharness.toml".into(), &["tabel.drop"]).operators().unwrap_err();
    assert_eq!(error.to_string(), "there is no operator `tabel.drop`");
    let known = |operator: &Operator| error.help().unwrap().contains(operator.name);
    assert!(all().iter().all(known));
}

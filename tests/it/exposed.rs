//! Ways by which rows get out beside the tables: what is found is found again, and the reference schema is closed.

use pgharness::check::{Check, Context, Example, Kind, Registry, Verdict};
use pgharness::finding::{Class, Finding, Severity};
use rstest::rstest;

const CHECKS: [&str; 14] = [
    "tenancy.copies",
    "tenancy.copy",
    "tenancy.definer-function",
    "tenancy.definer-write",
    "tenancy.error-detail",
    "tenancy.inheritance",
    "tenancy.new-partition",
    "tenancy.onboarded",
    "tenancy.partition-child",
    "tenancy.publication",
    "tenancy.schema-cross-read",
    "tenancy.schema-role",
    "tenancy.schema-search-path",
    "tenancy.sequence",
];

async fn run(context: &Context, id: &str) -> Vec<Finding> {
    let registry = Registry::standard();
    match registry.find(id).unwrap().run(context).await.unwrap() {
        Verdict::Ran { findings, .. } => findings,
        Verdict::Skipped(reason) => panic!("{id} was skipped: {reason}"),
    }
}

fn context_of(root: &std::path::Path, check: &dyn Check, example: &Example) -> Context {
    let dir = root.join(format!("{}.{}", check.id(), example.file));
    std::fs::create_dir(&dir).unwrap();
    Context::new(crate::checks::project(&dir, check, example).project().unwrap())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_look_finds_the_same(
    // What decodes a log needs a server with other settings.
    #[values(
        "tenancy.copies",
        "tenancy.copy",
        "tenancy.definer-function",
        "tenancy.definer-write",
        "tenancy.error-detail",
        "tenancy.inheritance",
        "tenancy.new-partition",
        "tenancy.onboarded",
        "tenancy.partition-child",
        "tenancy.schema-cross-read",
        "tenancy.schema-role",
        "tenancy.schema-search-path",
        "tenancy.sequence"
    )]
    id: &str,
) {
    let root = crate::checks::projects();
    let registry = Registry::standard();
    let check = registry.find(id).unwrap();
    // What a procedure onboards needs a server of its own.
    let bad = |example: &&Example| example.kind() == Kind::Bad && !example.file.contains("onboarded");
    for example in check.examples().iter().filter(bad) {
        let context = context_of(root.path(), check, example);
        let findings = run(&context, id).await;
        assert!(!findings.is_empty(), "{id}/{}", example.file);
        assert_eq!(
            findings,
            run(&context, id).await,
            "{id}/{}: a second look says something else",
            example.file
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_schema_lets_nothing_out() {
    let context = Context::new(crate::tenancy::reference());
    let registry = Registry::standard();
    for id in CHECKS {
        let findings = match registry.find(id).unwrap().run(&context).await.unwrap() {
            Verdict::Ran { findings, .. } => findings,
            // It has no table that inherits, and tenants that it onboards have schemas.
            Verdict::Skipped(reason) => {
                assert!(["tenancy.inheritance", "tenancy.onboarded"].contains(&id), "{id}: {reason}");
                continue;
            }
        };
        // Whoever shares the gateway's sessions is trusted, and nothing else is to be said.
        let expected: &[Class] = if id == "tenancy.schema-role" { &[Class::TrustBoundary] } else { &[] };
        let classes: Vec<Class> = findings.iter().map(|finding| finding.class).collect();
        assert_eq!(classes, expected, "{id}: {findings:#?}");
        assert!(findings.iter().all(|finding| finding.severity == Severity::Note), "{findings:#?}");
    }
}

/// The reference schema broken in several places, each in another way.
const BROKEN: &str = "
    create function identity.operator_by_id(wanted uuid) returns setof identity.operators
    language sql stable security definer set search_path = '' as
    $$ select operators.* from identity.operators where id = wanted $$;
    alter table identity.operators no force row level security;
    alter function identity.operator_by_id(uuid) owner to app_owner;
    grant execute on function identity.operator_by_id(uuid) to web_app;
    create function identity.disable_operator(disabled uuid) returns void
    language sql security definer set search_path = '' as $$ update identity.operators set disabled_at = now() where id = disabled $$;
    alter function identity.disable_operator(uuid) owner to app_owner;
    grant execute on function identity.disable_operator(uuid) to web_app;
    create function identity.rename_operators(tenant uuid, title text) returns void
    language sql security definer set search_path = '' as
    $$ update identity.operators set display_name = title where tenant_id = tenant $$;
    alter function identity.rename_operators(uuid, text) owner to app_owner;
    grant execute on function identity.rename_operators(uuid, text) to web_app;
    grant select on all tables in schema audit to auditor;
    create table workflow.trail (what jsonb not null);
    create function workflow.leave_trail() returns trigger language plpgsql security definer set search_path = '' as
    $$ begin insert into workflow.trail values (to_jsonb(new)); return new; end $$;
    create trigger leave_trail after insert on workflow.executions
    for each row execute function workflow.leave_trail();
    grant select on workflow.trail to web_jobs;
    do $$
    declare child regclass;
    begin
        for child in select inhrelid from pg_inherits where inhparent = 'audit.audit_events'::regclass loop
            execute format('alter table %s disable row level security', child);
        end loop;
    end $$;";

#[rstest]
#[case("tenancy.definer-function", "error function identity.operator_by_id(wanted uuid)", 1)]
#[case("tenancy.definer-write", "error function identity.", 2)]
#[case("tenancy.copies", "error table workflow.trail", 1)]
#[case("tenancy.partition-child", "error partition audit.audit_events_", 10)]
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_reference_schema_is_found_out(
    #[case] id: &str,
    #[case] expected: &str,
    #[case] at_least: usize,
) {
    let (_dir, project) = crate::tenancy::broken_reference(BROKEN);
    let findings = run(&Context::new(project), id).await;
    let said: Vec<String> =
        findings.iter().map(|finding| format!("{} {}", finding.severity, finding.subject)).collect();
    assert!(said.len() >= at_least && said.iter().all(|said| said.starts_with(expected)), "{said:#?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_row_is_reported(
    #[values(
        "tenancy.copies",
        "tenancy.copy",
        "tenancy.definer-function",
        "tenancy.error-detail",
        "tenancy.inheritance"
    )]
    id: &str,
) {
    let sql = "
        create table customers (tenant_id text not null, email text primary key, note text not null);
        create table partners (share integer not null default 1) inherits (customers);
        insert into customers values ('one', 'secret1@example.com', 'secret2'), ('two', 'secret3@example.com', 'secret4');
        insert into partners values ('one', 'secret5@example.com', 'secret6'), ('two', 'secret7@example.com', 'secret8');
        create function note_of(p_email text) returns text language plpgsql security definer as
        $$ begin return (select note from customers where email = p_email limit 1); end $$;
        create function explain_note() returns trigger language plpgsql security definer as
        $$ begin raise exception 'not %', (select string_agg(note, ',') from customers where tenant_id <> new.tenant_id); end $$;
        create trigger explain_note before insert on customers for each row when (current_user <> 'postgres')
        execute function explain_note();
        create view notes as select note from customers;
        grant select, insert on customers, partners, notes to web_app;";
    let root = crate::checks::projects();
    let registry = Registry::standard();
    let check = registry.find(id).unwrap();
    let example = Example { file: "bad.sql", sql };
    let context = context_of(root.path(), check, &example);
    let findings = run(&context, id).await;
    assert!(findings.iter().any(|finding| finding.severity <= Severity::Warning), "{id}: {findings:#?}");
    assert!(!format!("{findings:?}").contains("secret"), "{findings:#?}");
}

/// Schemas of kinds that are common, none of which deserves an error.
const HONEST: [(&str, &str); 3] = [
    ("no tenants at all", "create table posts (id serial primary key, title text not null); grant all on posts to web_app;"),
    (
        "policies that ask for claims, and a function that signs up",
        "create schema auth;
         grant usage on schema auth to web_app;
         create function auth.uid() returns uuid language sql stable as
         $$ select nullif(current_setting('app.tenant_id', true), '')::uuid $$;
         create table profiles (tenant_id uuid primary key, name text not null, created_at timestamptz default now());
         alter table profiles enable row level security;
         create policy own on profiles for all using (tenant_id = auth.uid()) with check (tenant_id = auth.uid());
         create table todos (id bigint generated by default as identity primary key,
            tenant_id uuid not null default auth.uid() references profiles, task text check (char_length(task) > 3));
         alter table todos enable row level security;
         create policy own on todos for all using (tenant_id = auth.uid()) with check (tenant_id = auth.uid());
         create function new_profile(wanted_name text) returns uuid language sql security definer set search_path = '' as
         $$ insert into public.profiles values (gen_random_uuid(), wanted_name) returning tenant_id $$;
         create function touch() returns trigger language plpgsql as $$ begin new.created_at = now(); return new; end $$;
         create trigger touch before update on profiles for each row execute function touch();
         grant select, insert, update, delete on all tables in schema public to web_app;
         grant usage on all sequences in schema public to web_app;",
    ),
    (
        "a table of tenants that all may read, and users who belong to several",
        "create table tenants (id uuid primary key default gen_random_uuid(), slug text not null unique);
         create table users (id uuid primary key default gen_random_uuid(), email text not null unique);
         create table members (tenant_id uuid not null references tenants, user_id uuid not null references users,
            primary key (tenant_id, user_id));
         alter table members enable row level security;
         create policy own on members using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
         grant select on tenants, users to web_app;
         grant select, insert, delete on members to web_app;",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn honest_schemas_get_no_error() {
    let root = crate::checks::projects();
    let registry = Registry::standard();
    for (number, (what, sql)) in HONEST.into_iter().enumerate() {
        for id in CHECKS.into_iter().filter(|id| !id.contains("schema-")) {
            let check = registry.find(id).unwrap();
            let files: [&'static str; 3] = ["good_0.sql", "good_1.sql", "good_2.sql"];
            let example = Example { file: files[number], sql };
            let dir = root.path().join(format!("honest-{id}-{number}"));
            std::fs::create_dir(&dir).unwrap();
            let context = Context::new(crate::checks::project(&dir, check, &example).project().unwrap());
            let Verdict::Ran { findings, .. } = check.run(&context).await.unwrap() else { continue };
            let errors: Vec<&Finding> =
                findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
            assert!(errors.is_empty(), "{what}: {errors:#?}");
        }
    }
}

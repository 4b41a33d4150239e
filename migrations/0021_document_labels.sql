-- Documents get labels, in the tables of tenants to come and in every tenant schema that exists.
set local role app_owner;
set local lock_timeout = '5s';

create or replace procedure tenants.create_tables(target_schema name)
language plpgsql
set search_path = ''
as $procedure$
begin
    execute format($table$
        create table %I.documents (
            id uuid primary key default gen_random_uuid(),
            title text not null,
            body text not null default '',
            created_at timestamptz not null default now(),
            updated_at timestamptz not null default now(),
            labels text[] not null default '{}'
        )
    $table$, target_schema);
    execute format('create index on %I.documents (updated_at desc)', target_schema);
    execute format('create index on %I.documents using gin (labels)', target_schema);
    execute format($table$
        create table %1$I.document_revisions (
            document_id uuid not null references %1$I.documents (id) on delete cascade,
            revision integer not null check (revision > 0),
            body text not null,
            created_at timestamptz not null default now(),
            primary key (document_id, revision)
        )
    $table$, target_schema);
    execute format($table$
        create table %I.settings (
            name text primary key,
            value jsonb not null,
            updated_at timestamptz not null default now()
        )
    $table$, target_schema);
end
$procedure$;

-- Onboarding inserts here first. Holding it off keeps a tenant from coming in with the old tables after the loop below.
lock table tenants.tenant_schemas in share mode;

do $migrate$
declare
    target_schema name;
begin
    -- Nothing but the procedure that onboards keeps a schema and its row together.
    for target_schema in
        select s.schema_name
        from tenants.tenant_schemas s join pg_catalog.pg_namespace n on n.nspname = s.schema_name
        order by s.schema_name
    loop
        -- A constant default is kept in the catalog, and so the table is not rewritten.
        execute format('alter table %I.documents add column labels text[] not null default ''{}''', target_schema);
        execute format('create index on %I.documents using gin (labels)', target_schema);
    end loop;
end
$migrate$;

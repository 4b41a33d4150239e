-- Monthly partitions as a rolling window: created ahead of need, archived once they fall behind.
set local role app_owner;

-- What maintenance did, for the operator who asks why a table is large.
create table maintenance.maintenance_runs (
    id bigint generated always as identity primary key,
    procedure_name text not null,
    rows_affected bigint not null,
    started_at timestamptz not null,
    created_at timestamptz not null default now()
);
create index on maintenance.maintenance_runs (procedure_name, created_at);

grant select, insert on maintenance.maintenance_runs to daemon;

-- Gives `parent` one partition for each month from `behind` months ago to `ahead` months from now, and moves older ones
-- to the schema `archive`. Months are those of UTC, whatever the session's time zone is.
create procedure maintenance.roll_monthly(parent regclass, ahead integer, behind integer, as_of timestamptz)
language plpgsql
set search_path = ''
set timezone = 'UTC'
as $procedure$
declare
    parent_schema name;
    parent_name name;
    oldest constant timestamptz := pg_catalog.date_trunc('month', as_of) - pg_catalog.make_interval(months => behind);
    lower_bound timestamptz;
    partition_name name;
    child regclass;
begin
    -- Two rollers at once would both create the same partition.
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('maintenance.roll_monthly ' || parent::text, 0));

    select nspname, relname into strict parent_schema, parent_name
    from pg_catalog.pg_class join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = parent;

    for lower_bound in
        select pg_catalog.generate_series(
            oldest, pg_catalog.date_trunc('month', as_of) + pg_catalog.make_interval(months => ahead), '1 month'
        )
    loop
        partition_name := parent_name || pg_catalog.to_char(lower_bound, '"_"YYYY"_"MM');
        continue when pg_catalog.to_regclass(format('%I.%I', parent_schema, partition_name)) is not null;

        -- ATTACH takes a weaker lock on the parent than CREATE TABLE ... PARTITION OF, and the table is isolated before it
        -- can be reached: a partition does not inherit the row-level security of its parent.
        execute format('create table %I.%I (like %s including all)', parent_schema, partition_name, parent);
        child := format('%I.%I', parent_schema, partition_name)::regclass;
        call identity.isolate_by_tenant(child);
        execute format(
            'alter table %s attach partition %s for values from (%L) to (%L)',
            parent, child, lower_bound, lower_bound + interval '1 month'
        );
        call maintenance.make_append_only(child);
    end loop;

    for child in
        select inhrelid::regclass
        from pg_catalog.pg_inherits join pg_catalog.pg_class on pg_class.oid = inhrelid
        where inhparent = parent and relname < parent_name || pg_catalog.to_char(oldest, '"_"YYYY"_"MM')
        order by relname
    loop
        -- Rows leave an append-only table by the month and are never deleted one by one. Detaching removes the row
        -- trigger that came from the parent, so it is put back; row-level security stays.
        execute format('alter table %s detach partition %s', parent, child);
        execute format('alter table %s set schema archive', child);
        call maintenance.make_append_only(child);
        execute format('grant select on %s to auditor', child);
    end loop;
end
$procedure$;

-- What every domain stands on: schemas, the tenant context, tenant isolation and append-only tables.
--
-- Every transactional migration begins with `set local role app_owner`. The objects then belong to a role that nobody can
-- log in as, whichever person or pipeline applied the file. SET LOCAL ends with the transaction, so the role leaks neither
-- into the next file nor into the session of the runner. A file marked `-- no-transaction` holds one statement and
-- has no room for it: it runs as app_migrator, which inherits the owner's rights, and may only touch what exists already.
set local role app_owner;

-- A function can be executed by PUBLIC unless this is taken away; every grant below is then a decision.
alter default privileges revoke execute on routines from public;

create schema maintenance;
create schema identity;
create schema policy;
create schema agents;
create schema workflow;
create schema billing;
create schema audit;
create schema messaging;
create schema platform;
create schema trading;
create schema reporting;
create schema tenants;
create schema archive;

grant usage on schema identity to web_app, web_jobs, task_runner, daemon, audit_writer, auditor;
grant usage on schema policy to web_app, task_runner, auditor;
grant usage on schema agents to web_app, task_runner, daemon;
grant usage on schema workflow to web_app, web_jobs, task_runner, daemon, auditor;
grant usage on schema billing to web_app, web_jobs, task_runner, daemon;
grant usage on schema audit to daemon, audit_writer, auditor;
grant usage on schema messaging to web_app, web_jobs, task_runner, daemon;
grant usage on schema platform to web_app, daemon, audit_writer, auditor;
grant usage on schema trading to web_app, task_runner, auditor;
grant usage on schema reporting to web_app, web_jobs;
grant usage on schema tenants to daemon;
grant usage on schema maintenance to daemon;
grant usage on schema archive to auditor;

-- The tenant that the current transaction works for, set with `set local app.tenant_id = '<uuid>'`.
--
-- It fails closed. Unset gives null, and so does the empty string that a setting is left with once SET LOCAL has ended:
-- null equals no tenant. Anything that is no uuid raises, because it is a mistake that should be noticed.
-- The body is a plain expression, so that the planner inlines it and can use it as an index condition.
create function identity.current_tenant() returns uuid
language sql stable parallel safe
return nullif(pg_catalog.current_setting('app.tenant_id', true), '')::uuid;

grant execute on function identity.current_tenant() to web_app, web_jobs, task_runner, daemon, audit_writer, auditor;

-- Confines a table to the current tenant.
--
-- FORCE, since otherwise the owner would see every row, and with it every SECURITY DEFINER function. There is one
-- policy for all roles and all verbs: permissive policies are joined with OR, so a second one could only widen the first.
create procedure identity.isolate_by_tenant(target regclass, tenant_column name default 'tenant_id')
language plpgsql
set search_path = ''
as $procedure$
begin
    execute format('alter table %s enable row level security', target);
    execute format('alter table %s force row level security', target);
    execute format(
        'create policy tenant_isolation on %1$s using (%2$I = identity.current_tenant()) with check (%2$I = identity.current_tenant())',
        target, tenant_column
    );
end
$procedure$;

create function maintenance.refuse_change() returns trigger
language plpgsql
set search_path = ''
as $function$
begin
    raise exception '% on %.% is refused: its rows are final', tg_op, tg_table_schema, tg_table_name
        using errcode = 'insufficient_privilege';
end
$function$;

-- Makes the rows of a table final. Grants alone would not bind the owner, nor a role that is granted too much by mistake.
--
-- Row triggers do not see TRUNCATE, hence a second one. A partition gets its row trigger from its parent, but statement
-- triggers are not inherited. ENABLE ALWAYS, because replication mode silences ordinary triggers.
create procedure maintenance.make_append_only(target regclass)
language plpgsql
set search_path = ''
as $procedure$
begin
    if not exists (select from pg_catalog.pg_trigger where tgrelid = target and tgname = 'refuse_change') then
        execute format(
            'create trigger refuse_change before update or delete on %s for each row execute function maintenance.refuse_change()',
            target
        );
        execute format('alter table %s enable always trigger refuse_change', target);
    end if;
    if not exists (select from pg_catalog.pg_trigger where tgrelid = target and tgname = 'refuse_truncate') then
        execute format(
            'create trigger refuse_truncate before truncate on %s for each statement execute function maintenance.refuse_change()',
            target
        );
        execute format('alter table %s enable always trigger refuse_truncate', target);
    end if;
end
$procedure$;

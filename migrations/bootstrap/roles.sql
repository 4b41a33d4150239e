-- Roles and everything else that needs a superuser, run once per database before any migration.
--
-- Roles belong to the cluster and not to a database, so no migration creates one: two databases on one server
-- share them, and a second database finds them there already. Running this file again changes nothing. It is sent as one
-- script, and so runs as one transaction. No role has a password: how services authenticate is not for a schema to say.

do $roles$
declare
    wanted record;
    setting text;
    unsafe text;
begin
    for wanted in
        select name, options, settings
        from (values
            -- Owns every object. Nobody can log in as it, so nobody owns a table by accident.
            ('app_owner', 'nologin', '{}'::text[]),

            -- Applies migrations: it may become the owner, and has no other power.
            ('app_migrator', 'login in role app_owner', '{}'),

            -- Creates the roles of tenants that live in a schema of their own. It cannot log in and has no member,
            -- because before Postgres 16 a role with CREATEROLE can grant itself almost every other role.
            ('app_provisioner', 'nologin createrole', '{}'),

            -- One role per service. A paused client must not hold its locks for ever.
            ('web_app', 'login', '{statement_timeout=30s,idle_in_transaction_session_timeout=60s}'),
            ('web_jobs', 'login', '{statement_timeout=120s,idle_in_transaction_session_timeout=60s}'),
            ('task_runner', 'login', '{statement_timeout=60s,idle_in_transaction_session_timeout=60s}'),
            ('daemon', 'login', '{idle_in_transaction_session_timeout=60s}'),

            -- Evidence has one writer that cannot read, and one reader that cannot write.
            ('audit_writer', 'login', '{statement_timeout=30s,idle_in_transaction_session_timeout=60s}'),
            ('auditor', 'login', '{statement_timeout=120s,idle_in_transaction_session_timeout=60s}'),

            -- Serves tenants with a schema of their own. NOINHERIT: it has no right at all until SET ROLE names a tenant.
            ('tenant_gateway', 'login noinherit', '{statement_timeout=30s,idle_in_transaction_session_timeout=60s}')
        ) as roles (name, options, settings)
    loop
        -- A role and its settings appear in one step. Whoever loses the race to create it waits for the winner's commit,
        -- gets one of these two errors, and finds the role complete: an ALTER ROLE afterwards would need a lock of its own.
        begin
            execute format('create role %I %s', wanted.name, wanted.options);
            foreach setting in array wanted.settings loop
                execute format(
                    'alter role %I set %s = %L',
                    wanted.name, split_part(setting, '=', 1), split_part(setting, '=', 2)
                );
            end loop;
        exception
            when duplicate_object or unique_violation then null;
        end;
    end loop;

    -- A role of the same name that somebody else made must not weaken this database.
    select string_agg(rolname, ', ' order by rolname) into unsafe
    from pg_catalog.pg_roles
    where (rolsuper or rolbypassrls or rolreplication or rolcreatedb or (rolcreaterole and rolname <> 'app_provisioner'))
        and rolname in (
            'app_owner', 'app_migrator', 'app_provisioner', 'web_app', 'web_jobs', 'task_runner', 'daemon',
            'audit_writer', 'auditor', 'tenant_gateway'
        );
    if unsafe is not null then
        raise exception 'these roles exist with more power than this schema allows: %', unsafe
            using hint = 'Rename them, or take SUPERUSER, BYPASSRLS, REPLICATION, CREATEDB and CREATEROLE away.';
    end if;
end
$roles$;

do $database$
begin
    -- The same database may be prepared twice at once, and two grants on one object collide ("tuple concurrently updated").
    perform pg_advisory_xact_lock(hashtextextended('bootstrap/roles.sql', 0));

    -- The name of the database differs from clone to clone, so it is never written down.
    execute format('revoke all on database %I from public', current_database());
    execute format('grant create on database %I to app_owner', current_database());
    execute format(
        'grant connect on database %I to app_migrator, web_app, web_jobs, task_runner, daemon, audit_writer, auditor, tenant_gateway',
        current_database()
    );

    -- The runner keeps its history in public. It writes a history row in the transaction of the migration itself,
    -- where the current role is already app_owner: hence the default privileges.
    revoke all on schema public from public;
    grant usage, create on schema public to app_migrator;
    grant usage on schema public to app_owner;
    alter default privileges for role app_migrator in schema public grant select, insert, update on tables to app_owner;
    alter default privileges for role app_migrator in schema public grant usage on sequences to app_owner;

    create schema if not exists provisioning;
    grant usage on schema provisioning to app_owner;
end
$database$;

-- Creates the role of one tenant, and nothing else: this function is all that CREATEROLE can be used for.
create or replace function provisioning.create_tenant_role(tenant_key text) returns name
language plpgsql security definer
set search_path = ''
as $function$
declare
    tenant_role constant name := 'app_tenant_' || tenant_key;
begin
    -- The prefix keeps the new name apart from every other role; the pattern keeps it within 63 bytes.
    if tenant_key is null or tenant_key !~ '^[a-z0-9][a-z0-9_-]{0,46}$' then
        raise exception 'a tenant key consists of up to 47 lower-case letters, digits, hyphens and underscores'
            using errcode = 'invalid_parameter_value';
    end if;
    begin
        execute format('create role %I nologin role tenant_gateway', tenant_role);
    exception
        -- Another database of this cluster serves a tenant of the same key.
        when duplicate_object or unique_violation then null;
    end;
    if exists (
        select from pg_catalog.pg_roles
        where rolname = tenant_role and (rolsuper or rolbypassrls or rolcreaterole or rolcanlogin)
    ) then
        raise exception 'role % exists and is not the plain role of a tenant', tenant_role
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    return tenant_role;
end
$function$;

revoke execute on function provisioning.create_tenant_role(text) from public;
grant execute on function provisioning.create_tenant_role(text) to app_owner;
alter function provisioning.create_tenant_role(text) owner to app_provisioner;

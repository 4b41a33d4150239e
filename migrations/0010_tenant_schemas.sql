-- The second tenancy model, on a small scale: a schema and a role per tenant, for customers whose contract asks for it.
--
-- The gateway connects as tenant_gateway, which has no rights, and on checkout sets role and search path:
--     set role app_tenant_acme; set search_path = tenant_acme;
-- When it hands the connection back it runs `reset role; reset search_path`. A forgotten reset leaves it with one tenant,
-- never with two.
set local role app_owner;

create table tenants.tenant_schemas (
    tenant_key text primary key,
    schema_name name not null unique,
    role_name name not null unique,
    created_at timestamptz not null default now()
);

-- The tables of one tenant. A migration that changes them replaces this procedure and visits every schema that exists,
-- in one transaction, so that all of them stay alike.
create procedure tenants.create_tables(target_schema name)
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
            updated_at timestamptz not null default now()
        )
    $table$, target_schema);
    execute format('create index on %I.documents (updated_at desc)', target_schema);
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

-- Brings a tenant in: its role, its schema, its tables, its grants. Calling it again changes nothing.
--
-- It runs with the owner's rights, because its callers may not create schemas. The role is made by the one function that
-- may do so, and that function lets nothing but the key be chosen.
create function tenants.onboard(tenant_key text) returns name
language plpgsql security definer
set search_path = ''
as $function$
declare
    target_schema constant name := 'tenant_' || tenant_key;
    target_role constant name := provisioning.create_tenant_role(tenant_key);
begin
    insert into tenants.tenant_schemas (tenant_key, schema_name, role_name)
    values (onboard.tenant_key, target_schema, target_role)
    on conflict do nothing;
    if not found then
        return target_schema;
    end if;

    execute format('create schema %I', target_schema);
    call tenants.create_tables(target_schema);
    execute format('grant usage on schema %I to %I', target_schema, target_role);
    execute format('grant select, insert, update, delete on %1$I.documents, %1$I.settings to %2$I', target_schema, target_role);
    execute format('grant select, insert on %I.document_revisions to %I', target_schema, target_role);
    return target_schema;
end
$function$;

grant execute on function tenants.onboard(text) to daemon;
grant select on tenants.tenant_schemas to daemon;

-- Identity: who exists. Tenants, their zones, people, applications and what protects what.
--
-- Keys of tenant tables begin with tenant_id. A duplicate then says nothing about other tenants, and a foreign key that
-- carries tenant_id cannot point into another tenant: the server checks foreign keys without row-level security.
set local role app_owner;

create table identity.ref_tenant_states (
    code text primary key,
    description text not null
);
insert into identity.ref_tenant_states (code, description) values
    ('active', 'in use'),
    ('suspended', 'may read, may not write'),
    ('closed', 'kept for its records only');

create table identity.tenants (
    id uuid primary key default gen_random_uuid(),
    display_name text not null,
    state text not null default 'active' references identity.ref_tenant_states (code),
    created_at timestamptz not null default now(),
    closed_at timestamptz
);
create index on identity.tenants (state);
call identity.isolate_by_tenant('identity.tenants', 'id');

-- Maintenance visits the tenants one by one, each in its own context, and so has to know which there are.
-- This is all that the owner may see beyond the current tenant, and nobody can log in as the owner.
create policy listed_by_owner on identity.tenants for select to app_owner using (true);

create table identity.zones (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    slug text not null,
    display_name text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, slug)
);
comment on table identity.zones is 'A trust boundary within a tenant, such as production or a sandbox.';
call identity.isolate_by_tenant('identity.zones');

create table identity.ref_operator_roles (
    code text primary key,
    description text not null
);
insert into identity.ref_operator_roles (code, description) values
    ('owner', 'manages people and billing'),
    ('editor', 'changes policies and workflows'),
    ('viewer', 'reads');

create table identity.operators (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    email text not null,
    display_name text not null,
    role text not null default 'viewer' references identity.ref_operator_roles (code),
    created_at timestamptz not null default now(),
    disabled_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, email)
);
comment on table identity.operators is 'A person who signs in. One person with two tenants is two operators.';
create index on identity.operators (role);
call identity.isolate_by_tenant('identity.operators');

create table identity.ref_provider_kinds (
    code text primary key,
    description text not null
);
insert into identity.ref_provider_kinds (code, description) values
    ('oidc', 'OpenID Connect'),
    ('saml', 'SAML 2.0'),
    ('oauth2', 'OAuth 2.0 for machines');

create table identity.providers (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    zone_id uuid not null,
    kind text not null references identity.ref_provider_kinds (code),
    display_name text not null,
    issuer text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, zone_id, issuer),
    foreign key (tenant_id, zone_id) references identity.zones (tenant_id, id)
);
comment on table identity.providers is 'Where operators and applications prove who they are.';
create index on identity.providers (kind);
call identity.isolate_by_tenant('identity.providers');

create table identity.applications (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    zone_id uuid not null,
    slug text not null,
    display_name text not null,
    created_at timestamptz not null default now(),
    disabled_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, zone_id, slug),
    foreign key (tenant_id, zone_id) references identity.zones (tenant_id, id)
);
comment on table identity.applications is 'A program that acts: a service, or an agent.';
call identity.isolate_by_tenant('identity.applications');

create table identity.resources (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    zone_id uuid not null,
    provider_id uuid,
    urn text not null,
    display_name text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, urn),
    foreign key (tenant_id, zone_id) references identity.zones (tenant_id, id),
    -- Only provider_id becomes null: without the list, tenant_id would too.
    foreign key (tenant_id, provider_id) references identity.providers (tenant_id, id) on delete set null (provider_id)
);
comment on table identity.resources is 'Something that access is granted to.';
create index on identity.resources (tenant_id, zone_id);
create index on identity.resources (tenant_id, provider_id);
call identity.isolate_by_tenant('identity.resources');

create table identity.external_tenant_links (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    provider_id uuid not null,
    external_id text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, provider_id, external_id),
    foreign key (tenant_id, provider_id) references identity.providers (tenant_id, id) on delete cascade
);
comment on table identity.external_tenant_links is 'The name of this tenant at a provider, such as the organisation of a directory.';
call identity.isolate_by_tenant('identity.external_tenant_links');

-- Lists tenants for the service that schedules work for all of them; it learns the ids and nothing else.
create function identity.tenant_ids() returns uuid[]
language sql stable security definer
set search_path = ''
return array(select tenants.id from identity.tenants order by tenants.id);

-- A new tenant has no context yet, and nobody may insert tenants directly: the id is drawn here, so it cannot be guessed at.
create function identity.create_tenant(tenant_name text) returns uuid
language plpgsql security definer
set search_path = ''
as $function$
declare
    new_id constant uuid := pg_catalog.gen_random_uuid();
    context constant text := pg_catalog.current_setting('app.tenant_id', true);
begin
    perform pg_catalog.set_config('app.tenant_id', new_id::text, true);
    insert into identity.tenants (id, display_name) values (new_id, tenant_name);
    insert into identity.zones (tenant_id, slug, display_name) values (new_id, 'main', 'Main');
    -- The caller goes on in the context that it came with.
    perform pg_catalog.set_config('app.tenant_id', coalesce(context, ''), true);
    return new_id;
end
$function$;

grant execute on function identity.tenant_ids() to daemon;
grant execute on function identity.create_tenant(text) to daemon;

grant select on identity.ref_tenant_states, identity.ref_operator_roles, identity.ref_provider_kinds
    to web_app, web_jobs, task_runner, daemon;
grant select on identity.tenants to web_app, web_jobs, task_runner, daemon, auditor;
grant select, insert, update on identity.zones, identity.operators, identity.applications, identity.resources to web_app;
grant select, insert, update, delete on identity.providers, identity.external_tenant_links to web_app;
grant select on identity.operators, identity.external_tenant_links to web_jobs;
grant select on identity.zones, identity.applications, identity.resources to task_runner;

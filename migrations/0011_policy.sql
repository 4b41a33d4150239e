-- Policy: rules and specifications. A version never changes once it exists; a change is a new version.
set local role app_owner;

create table policy.policies (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    slug text not null,
    title text not null,
    created_at timestamptz not null default now(),
    retired_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, slug)
);
call identity.isolate_by_tenant('policy.policies');

-- One digest for all content, computed by the server. See workflow.payload_hash for why IMMUTABLE is honest here.
create function policy.content_hash(content jsonb) returns bytea
language sql immutable strict parallel safe
return pg_catalog.sha256(pg_catalog.convert_to(content::text, 'UTF8'));

create table policy.policy_versions (
    tenant_id uuid not null references identity.tenants (id),
    policy_id uuid not null,
    version integer not null check (version > 0),
    content jsonb not null,
    content_hash bytea not null generated always as (policy.content_hash(content)) stored,
    authored_by uuid not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, policy_id, version),
    foreign key (tenant_id, policy_id) references policy.policies (tenant_id, id),
    foreign key (tenant_id, authored_by) references identity.operators (tenant_id, id)
);
create index on policy.policy_versions (tenant_id, authored_by);
call identity.isolate_by_tenant('policy.policy_versions');
call maintenance.make_append_only('policy.policy_versions');

-- What is in force is a pointer to a version, and so going back to an older one is an update of one row.
create table policy.policy_bindings (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    resource_id uuid not null,
    policy_id uuid not null,
    version integer not null,
    bound_by uuid not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, resource_id, policy_id),
    foreign key (tenant_id, resource_id) references identity.resources (tenant_id, id),
    foreign key (tenant_id, policy_id, version) references policy.policy_versions (tenant_id, policy_id, version),
    foreign key (tenant_id, bound_by) references identity.operators (tenant_id, id)
);
create index on policy.policy_bindings (tenant_id, policy_id, version);
create index on policy.policy_bindings (tenant_id, bound_by);
call identity.isolate_by_tenant('policy.policy_bindings');

-- Specifications are locked by their content: the digest is the name by which a run refers to what it ran, and the same
-- content cannot be registered as two versions.
create table policy.agent_spec_versions (
    tenant_id uuid not null references identity.tenants (id),
    application_id uuid not null,
    version integer not null check (version > 0),
    content jsonb not null,
    content_hash bytea not null generated always as (policy.content_hash(content)) stored,
    created_at timestamptz not null default now(),
    primary key (tenant_id, application_id, version),
    constraint agent_spec_versions_content_key unique (tenant_id, application_id, content_hash),
    foreign key (tenant_id, application_id) references identity.applications (tenant_id, id)
);
call identity.isolate_by_tenant('policy.agent_spec_versions');
call maintenance.make_append_only('policy.agent_spec_versions');

create table policy.tool_spec_versions (
    tenant_id uuid not null references identity.tenants (id),
    tool text not null,
    version integer not null check (version > 0),
    content jsonb not null,
    content_hash bytea not null generated always as (policy.content_hash(content)) stored,
    created_at timestamptz not null default now(),
    primary key (tenant_id, tool, version),
    constraint tool_spec_versions_content_key unique (tenant_id, tool, content_hash)
);
call identity.isolate_by_tenant('policy.tool_spec_versions');
call maintenance.make_append_only('policy.tool_spec_versions');

grant execute on function policy.content_hash(jsonb) to web_app, task_runner, auditor;

grant select, insert, update on policy.policies, policy.policy_bindings to web_app;
grant select, insert on policy.policy_versions, policy.agent_spec_versions, policy.tool_spec_versions to web_app;
grant select on policy.policies, policy.policy_versions, policy.policy_bindings, policy.agent_spec_versions, policy.tool_spec_versions
    to task_runner, auditor;

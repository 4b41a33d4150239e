-- Platform: what the control plane runs on behalf of a tenant, and what it knows about who owns what.
set local role app_owner;

create table platform.ref_run_states (
    code text primary key,
    is_final boolean not null,
    description text not null
);
insert into platform.ref_run_states (code, is_final, description) values
    ('requested', false, 'accepted'),
    ('running', false, 'begun'),
    ('succeeded', true, 'done'),
    ('failed', true, 'ended with an error');

create table platform.workload_runs (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    workload text not null,
    image_digest text not null,
    state text not null default 'requested' references platform.ref_run_states (code),
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    exit_code integer,
    primary key (tenant_id, id)
);
create index on platform.workload_runs (tenant_id, workload, created_at desc);
create index on platform.workload_runs (state);
call identity.isolate_by_tenant('platform.workload_runs');

create table platform.terraform_runs (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    zone_id uuid not null,
    workspace text not null,
    plan_hash bytea not null check (octet_length(plan_hash) = 32),
    state text not null default 'requested' references platform.ref_run_states (code),
    approved_by uuid,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, zone_id) references identity.zones (tenant_id, id),
    foreign key (tenant_id, approved_by) references identity.operators (tenant_id, id)
);
-- Two runs that change one workspace at the same time would undo each other.
create unique index terraform_runs_running_key on platform.terraform_runs (tenant_id, workspace) where state = 'running';
create index on platform.terraform_runs (tenant_id, zone_id);
create index on platform.terraform_runs (tenant_id, approved_by);
create index on platform.terraform_runs (state);
call identity.isolate_by_tenant('platform.terraform_runs');

create table platform.security_audit_events (
    tenant_id uuid not null,
    id uuid not null default gen_random_uuid(),
    occurred_at timestamptz not null default now(),
    severity text not null check (severity in ('info', 'warning', 'critical')),
    kind text not null,
    source text not null,
    detail jsonb not null default '{}',
    primary key (tenant_id, id)
);
create index on platform.security_audit_events (tenant_id, occurred_at desc);
call identity.isolate_by_tenant('platform.security_audit_events');
call maintenance.make_append_only('platform.security_audit_events');

create table platform.ownership_snapshots (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    source text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id)
);
comment on table platform.ownership_snapshots is
    'The graph of who owned what at one moment. Snapshots are compared with one another and never edited.';
create index on platform.ownership_snapshots (tenant_id, created_at desc);
call identity.isolate_by_tenant('platform.ownership_snapshots');

create table platform.ownership_edges (
    tenant_id uuid not null references identity.tenants (id),
    snapshot_id uuid not null,
    owner_urn text not null,
    owned_urn text not null,
    primary key (tenant_id, snapshot_id, owner_urn, owned_urn),
    foreign key (tenant_id, snapshot_id) references platform.ownership_snapshots (tenant_id, id) on delete cascade
);
create index on platform.ownership_edges (tenant_id, owned_urn);
call identity.isolate_by_tenant('platform.ownership_edges');

grant select on platform.ref_run_states to web_app, daemon;
grant select on platform.workload_runs, platform.ownership_snapshots, platform.ownership_edges to web_app;
grant select, insert, update on platform.terraform_runs to web_app;
grant select, insert, update on platform.workload_runs to daemon;
grant select, update on platform.terraform_runs to daemon;
grant select, insert on platform.ownership_snapshots, platform.ownership_edges to daemon;
grant insert on platform.security_audit_events to audit_writer;
grant select on platform.security_audit_events to auditor;

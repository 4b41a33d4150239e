-- Workflow: definitions, their executions, and the proof of what was done.
set local role app_owner;

create table workflow.ref_execution_states (
    code text primary key,
    is_final boolean not null,
    description text not null
);
insert into workflow.ref_execution_states (code, is_final, description) values
    ('queued', false, 'accepted, not begun'),
    ('running', false, 'at least one task has begun'),
    ('succeeded', true, 'every task succeeded'),
    ('failed', true, 'a task failed for good'),
    ('cancelled', true, 'stopped by somebody');

create table workflow.ref_task_states (
    code text primary key,
    description text not null
);
insert into workflow.ref_task_states (code, description) values
    ('running', 'held by a runner'),
    ('succeeded', 'done'),
    ('failed', 'this attempt failed; there may be another');

create table workflow.workflow_definitions (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    slug text not null,
    revision integer not null check (revision > 0),
    title text not null,
    body jsonb not null,
    created_by uuid not null,
    created_at timestamptz not null default now(),
    retired_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, slug, revision),
    foreign key (tenant_id, created_by) references identity.operators (tenant_id, id)
);
create index on workflow.workflow_definitions (tenant_id, created_by);
call identity.isolate_by_tenant('workflow.workflow_definitions');

create table workflow.task_definitions (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    workflow_definition_id uuid not null,
    position integer not null check (position > 0),
    name text not null,
    handler text not null,
    timeout interval not null default interval '5 minutes',
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    constraint task_definitions_position_key unique (tenant_id, workflow_definition_id, position),
    foreign key (tenant_id, workflow_definition_id) references workflow.workflow_definitions (tenant_id, id) on delete cascade
);
call identity.isolate_by_tenant('workflow.task_definitions');

create table workflow.executions (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    workflow_definition_id uuid not null,
    started_by uuid not null,
    state text not null default 'queued' references workflow.ref_execution_states (code),
    input jsonb not null default '{}',
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, workflow_definition_id) references workflow.workflow_definitions (tenant_id, id),
    foreign key (tenant_id, started_by) references identity.applications (tenant_id, id),
    check (finished_at >= created_at)
);
-- Lists show the newest first, and turn the page by (created_at, id).
create index on workflow.executions (tenant_id, created_at desc, id desc);
create index on workflow.executions (tenant_id, workflow_definition_id);
create index on workflow.executions (tenant_id, started_by);
create index on workflow.executions (state);
call identity.isolate_by_tenant('workflow.executions');

create table workflow.task_runs (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    execution_id uuid not null,
    task_definition_id uuid not null,
    attempt integer not null default 1 check (attempt > 0),
    state text not null default 'running' references workflow.ref_task_states (code),
    error text,
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    primary key (tenant_id, id),
    constraint task_runs_attempt_key unique (tenant_id, execution_id, task_definition_id, attempt),
    foreign key (tenant_id, execution_id) references workflow.executions (tenant_id, id),
    foreign key (tenant_id, task_definition_id) references workflow.task_definitions (tenant_id, id)
);
create index on workflow.task_runs (tenant_id, task_definition_id);
create index on workflow.task_runs (state);
call identity.isolate_by_tenant('workflow.task_runs');

create table workflow.progress_snapshots (
    tenant_id uuid not null references identity.tenants (id),
    execution_id uuid not null,
    step integer not null check (step > 0),
    percent smallint not null check (percent between 0 and 100),
    note text not null default '',
    created_at timestamptz not null default now(),
    primary key (tenant_id, execution_id, step),
    foreign key (tenant_id, execution_id) references workflow.executions (tenant_id, id) on delete cascade
);
comment on table workflow.progress_snapshots is
    'How far an execution had come. Numbered within the execution, so a reader can tell what it has missed.';
call identity.isolate_by_tenant('workflow.progress_snapshots');

-- The server computes the digest: a proof whose writer could choose it would prove nothing.
--
-- IMMUTABLE although convert_to is only STABLE: the encoding of a database never changes, and jsonb has one text form.
create function workflow.payload_hash(payload jsonb) returns bytea
language sql immutable strict parallel safe
return pg_catalog.sha256(pg_catalog.convert_to(payload::text, 'UTF8'));

create table workflow.proof_records (
    tenant_id uuid not null references identity.tenants (id),
    recorded_at timestamptz not null default now(),
    id uuid not null default gen_random_uuid(),
    execution_id uuid not null,
    kind text not null,
    payload jsonb not null,
    payload_hash bytea not null generated always as (workflow.payload_hash(payload)) stored,
    -- The partition key has to be part of every unique key.
    primary key (tenant_id, recorded_at, id),
    foreign key (tenant_id, execution_id) references workflow.executions (tenant_id, id)
) partition by range (recorded_at);
create index on workflow.proof_records (tenant_id, execution_id);
call identity.isolate_by_tenant('workflow.proof_records');
call maintenance.make_append_only('workflow.proof_records');

-- Proofs are archived by the month; the definer's rights are what lets the daemon create and detach partitions.
create procedure workflow.archive_proofs(as_of timestamptz default now())
language plpgsql security definer
set search_path = ''
as $procedure$
begin
    call maintenance.roll_monthly('workflow.proof_records', 2, 3, as_of);
end
$procedure$;
call workflow.archive_proofs();

grant execute on function workflow.payload_hash(jsonb) to web_app, task_runner, auditor;
grant execute on procedure workflow.archive_proofs(timestamptz) to daemon;

grant select on workflow.ref_execution_states, workflow.ref_task_states to web_app, web_jobs, task_runner, daemon, auditor;
grant select, insert, update on workflow.workflow_definitions, workflow.task_definitions, workflow.executions to web_app;
grant select on workflow.task_runs, workflow.progress_snapshots, workflow.proof_records to web_app;
grant select on workflow.workflow_definitions, workflow.executions to web_jobs;
grant select on workflow.workflow_definitions, workflow.task_definitions to task_runner;
grant select, update on workflow.executions to task_runner;
grant select, insert, update on workflow.task_runs to task_runner;
grant select, insert on workflow.progress_snapshots, workflow.proof_records to task_runner;
grant select on workflow.executions, workflow.proof_records to auditor;

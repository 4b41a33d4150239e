-- Workflow: the job queue, its history, and how the one becomes the other.
set local role app_owner;

create table workflow.ref_job_states (
    code text primary key,
    is_final boolean not null,
    description text not null
);
insert into workflow.ref_job_states (code, is_final, description) values
    ('queued', false, 'waits for a runner'),
    ('running', false, 'leased by a runner'),
    ('succeeded', true, 'done'),
    ('dead', true, 'out of attempts; kept for somebody to look at');

create table workflow.jobs (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    execution_id uuid,
    queue text not null default 'default',
    payload jsonb not null default '{}',
    legacy_payload text,
    state text not null default 'queued' references workflow.ref_job_states (code),
    priority smallint not null default 5 check (priority between 0 and 9),
    run_at timestamptz not null default now(),
    attempts integer not null default 0,
    max_attempts integer not null default 5,
    leased_by text,
    leased_until timestamptz,
    last_error text,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, execution_id) references workflow.executions (tenant_id, id)
) with (
    -- A job is updated at least twice in its short life, so the pages keep room for it.
    fillfactor = 80
);
-- Only what can be claimed is in the index that claims read, so it stays small however long the table grows.
create index jobs_claimable_idx on workflow.jobs (tenant_id, queue, priority, run_at) where state = 'queued';
create index jobs_leases_idx on workflow.jobs (tenant_id, leased_until) where state = 'running';
create index jobs_finished_idx on workflow.jobs (tenant_id, finished_at) where finished_at is not null;
create index on workflow.jobs (tenant_id, execution_id);
create index on workflow.jobs (state);
call identity.isolate_by_tenant('workflow.jobs');

create table workflow.job_history (
    tenant_id uuid not null references identity.tenants (id),
    job_id uuid not null,
    execution_id uuid,
    queue text not null,
    state text not null references workflow.ref_job_states (code),
    attempts integer not null,
    last_error text,
    enqueued_at timestamptz not null,
    finished_at timestamptz not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, job_id)
);
-- There is no foreign key to executions: history may outlive what it speaks of.
create index on workflow.job_history (tenant_id, finished_at);
create index on workflow.job_history (state);
call identity.isolate_by_tenant('workflow.job_history');

-- A runner that died leaves its lease behind. Whoever finds it expired puts the job back, or gives it up.
create function workflow.release_expired_leases() returns bigint
language sql
set search_path = ''
begin atomic
    with released as (
        update workflow.jobs
        set state = case when attempts >= max_attempts then 'dead' else 'queued' end,
            finished_at = case when attempts >= max_attempts then now() end,
            leased_by = null,
            leased_until = null,
            last_error = 'the lease of ' || leased_by || ' expired'
        where tenant_id = identity.current_tenant() and state = 'running' and leased_until < now()
        returning 1
    )
    select count(*) from released;
end;

-- Moves finished jobs into the history. One statement deletes and inserts, so a job is never in both tables or in neither.
create procedure workflow.archive_jobs(keep interval default interval '7 days', batch_size integer default 500)
language plpgsql
as $procedure$
declare
    visited_tenant uuid;
    moved bigint;
    moved_in_all bigint := 0;
    started constant timestamptz := pg_catalog.now();
begin
    foreach visited_tenant in array identity.tenant_ids() loop
        loop
            -- The setting ends with each transaction, and so it is made anew for each batch.
            perform pg_catalog.set_config('app.tenant_id', visited_tenant::text, true);
            with finished as (
                delete from workflow.jobs
                where tenant_id = visited_tenant and id in (
                    select id from workflow.jobs
                    where tenant_id = visited_tenant and finished_at < pg_catalog.now() - keep
                    order by finished_at limit batch_size
                )
                returning *
            )
            insert into workflow.job_history (
                tenant_id, job_id, execution_id, queue, state, attempts, last_error, enqueued_at, finished_at
            )
            select tenant_id, id, execution_id, queue, state, attempts, last_error, created_at, finished_at
            from finished;
            get diagnostics moved = row_count;
            moved_in_all := moved_in_all + moved;
            commit;
            exit when moved < batch_size or moved = 0;
        end loop;
    end loop;
    insert into maintenance.maintenance_runs (procedure_name, rows_affected, started_at)
    values ('workflow.archive_jobs', moved_in_all, started);
end
$procedure$;

create procedure workflow.purge_history(keep interval default interval '90 days', batch_size integer default 1000)
language plpgsql
as $procedure$
declare
    visited_tenant uuid;
    removed bigint;
    removed_in_all bigint := 0;
    started constant timestamptz := pg_catalog.now();
begin
    foreach visited_tenant in array identity.tenant_ids() loop
        loop
            perform pg_catalog.set_config('app.tenant_id', visited_tenant::text, true);
            delete from workflow.job_history
            where tenant_id = visited_tenant and job_id in (
                select job_id from workflow.job_history
                where tenant_id = visited_tenant and finished_at < pg_catalog.now() - keep
                order by finished_at limit batch_size
            );
            get diagnostics removed = row_count;
            removed_in_all := removed_in_all + removed;
            commit;
            exit when removed < batch_size or removed = 0;
        end loop;
    end loop;
    insert into maintenance.maintenance_runs (procedure_name, rows_affected, started_at)
    values ('workflow.purge_history', removed_in_all, started);
end
$procedure$;

grant execute on function workflow.release_expired_leases() to task_runner;
grant execute on procedure workflow.archive_jobs(interval, integer) to daemon;
grant execute on procedure workflow.purge_history(interval, integer) to daemon;

grant select on workflow.ref_job_states to web_app, web_jobs, task_runner, daemon;
grant select, insert on workflow.jobs to web_app, web_jobs;
grant select, insert, update on workflow.jobs to task_runner;
grant select, delete on workflow.jobs to daemon;
grant select on workflow.job_history to web_app;
grant select, insert, delete on workflow.job_history to daemon;

-- name: claim_job
-- role: task_runner
-- set: app.tenant_id = :tenant
-- param tenant: from identity.tenants.id
-- param queue: text = 'default'
-- param runner: text = 'runner-1'
-- budget: blocks 45, rows_scanned_per_row 4
-- SKIP LOCKED, so that runners that come at the same time take different jobs and none of them waits.
update workflow.jobs
set state = 'running',
    attempts = jobs.attempts + 1,
    leased_by = :runner,
    leased_until = now() + interval '1 minute'
where jobs.tenant_id = identity.current_tenant() and jobs.id = (
    select candidate.id
    from workflow.jobs as candidate
    where candidate.queue = :queue and candidate.state = 'queued' and candidate.run_at <= now()
    order by candidate.priority, candidate.run_at
    limit 1
    for update skip locked
)
returning jobs.id, jobs.execution_id, jobs.payload, jobs.attempts, jobs.leased_until;

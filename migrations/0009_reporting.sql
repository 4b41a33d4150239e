-- Reporting: three ways to show rows to somebody, none of which goes around tenant isolation.
set local role app_owner;

create table reporting.ref_report_kinds (
    code text primary key,
    description text not null
);
insert into reporting.ref_report_kinds (code, description) values
    ('usage', 'what was consumed'),
    ('access', 'who may do what'),
    ('reliability', 'what failed, and how often');

-- First way: a table with the tenant policy.
create table reporting.reports (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    kind text not null references reporting.ref_report_kinds (code),
    title text not null,
    requested_by uuid not null,
    covers tstzrange not null,
    body jsonb,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, requested_by) references identity.operators (tenant_id, id),
    check (not isempty(covers))
);
create index on reporting.reports (tenant_id, created_at desc);
create index on reporting.reports (tenant_id, requested_by);
create index on reporting.reports (kind);
call identity.isolate_by_tenant('reporting.reports');

-- Second way: a view that runs with the rights and the policies of whoever reads it. Without security_invoker it would
-- run with those of its owner.
create view reporting.execution_summary with (security_invoker = true) as
select
    executions.tenant_id,
    executions.workflow_definition_id,
    workflow_definitions.title,
    (executions.created_at at time zone 'UTC')::date as day,
    count(*) as executions,
    count(*) filter (where executions.state = 'succeeded') as succeeded,
    count(*) filter (where executions.state = 'failed') as failed,
    avg(executions.finished_at - executions.started_at) as mean_duration
from workflow.executions
join workflow.workflow_definitions
    on workflow_definitions.tenant_id = executions.tenant_id
    and workflow_definitions.id = executions.workflow_definition_id
group by 1, 2, 3, 4;

-- Third way: a function with the owner's rights, for a summary of a table that its callers must not read.
--
-- What makes it safe: an empty search_path, so that nobody slips in another table or operator; a tenant taken from the
-- context and never from an argument; that condition written out although the forced policy adds it too; a result that
-- has no row of the table in it; and execution granted to one role.
create function reporting.audit_activity(since timestamptz, until timestamptz)
returns table (action text, events bigint, last_at timestamptz)
language sql stable security definer
set search_path = ''
begin atomic
    select audit_events.action, count(*), max(audit_events.occurred_at)
    from audit.audit_events
    where audit_events.tenant_id = identity.current_tenant()
        and audit_events.occurred_at >= since
        and audit_events.occurred_at < until
    group by audit_events.action
    order by audit_events.action;
end;

grant execute on function reporting.audit_activity(timestamptz, timestamptz) to web_app;

grant select on reporting.ref_report_kinds to web_app, web_jobs;
grant select, insert on reporting.reports to web_app;
grant select, update on reporting.reports to web_jobs;
grant select on reporting.execution_summary to web_app, web_jobs;

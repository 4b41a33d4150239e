-- name: execution_detail
-- role: web_app
-- set: app.tenant_id = :tenant
-- param tenant: from identity.tenants.id
-- param execution: from workflow.executions.id
-- budget: blocks 45, rows_scanned_per_row 6
-- One execution with all its tasks, in one statement instead of one per task.
select
    executions.state,
    workflow_definitions.title,
    task_definitions.position,
    task_definitions.name,
    task_runs.attempt,
    task_runs.state as task_state,
    task_runs.finished_at
from workflow.executions
join workflow.workflow_definitions
    on workflow_definitions.tenant_id = executions.tenant_id
    and workflow_definitions.id = executions.workflow_definition_id
join workflow.task_runs
    on task_runs.tenant_id = executions.tenant_id
    and task_runs.execution_id = executions.id
join workflow.task_definitions
    on task_definitions.tenant_id = task_runs.tenant_id
    and task_definitions.id = task_runs.task_definition_id
where executions.id = :execution
order by task_definitions.position, task_runs.attempt;

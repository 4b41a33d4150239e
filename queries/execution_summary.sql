-- name: execution_summary
-- role: web_app
-- set: app.tenant_id = :tenant
-- param tenant: from identity.tenants.id
-- param workflow: from workflow.workflow_definitions.id
-- budget: blocks 50, rows_scanned_per_row 4
-- The chart on the page of a workflow: reads every execution of that workflow, and of no other.
select execution_summary.day, execution_summary.executions, execution_summary.succeeded, execution_summary.failed
from reporting.execution_summary
where execution_summary.workflow_definition_id = :workflow
order by execution_summary.day desc;

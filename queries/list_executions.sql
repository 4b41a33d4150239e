-- name: list_executions
-- role: web_app
-- set: app.tenant_id = :tenant
-- param tenant: from identity.tenants.id
-- param since: timestamptz = now() - interval '7 days'
-- budget: blocks 12, rows_scanned_per_row 2
-- The first page of the list that every visit begins with. The next page starts after the last (created_at, id) shown.
select executions.id, executions.state, executions.priority, executions.created_at, executions.finished_at
from workflow.executions
where executions.created_at >= :since
order by executions.created_at desc, executions.id desc
limit 50;

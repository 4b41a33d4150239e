-- name: audit_trail_of_resource
-- role: auditor
-- set: app.tenant_id = :tenant
-- param tenant: from identity.tenants.id
-- param resource: from audit.audit_events.resource_id
-- param since: timestamptz = now() - interval '30 days'
-- budget: blocks 25, rows_scanned_per_row 2
-- The condition on the time lets the server leave out the partitions before it.
select audit_events.occurred_at, audit_events.actor_kind, audit_events.actor_id, audit_events.action, audit_events.detail
from audit.audit_events
where audit_events.resource_id = :resource and audit_events.occurred_at >= :since
order by audit_events.occurred_at desc
limit 50;

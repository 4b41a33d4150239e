-- name: usage_of_period
-- role: web_app
-- set: app.tenant_id = :tenant
-- param tenant: from identity.tenants.id
-- param since: timestamptz = now() - interval '30 days'
-- budget: blocks 30, rows_scanned_per_row 400
-- Sums the period from the index alone: it carries the quantity.
select metering.meter, sum(metering.quantity) as used
from billing.metering
where metering.meter in ('agent_minutes', 'executions', 'stored_bytes') and metering.used_at >= :since
group by metering.meter
order by metering.meter;

-- name: append_outbox_event
-- role: web_app
-- set: app.tenant_id = :tenant
-- param tenant: from identity.tenants.id
-- param subject: from workflow.executions.id
-- budget: blocks 25, rows_scanned_per_row 1
-- Runs in the transaction of the change that it announces. There is no RETURNING, since web_app may write events and not read them.
insert into messaging.event_outbox (tenant_id, topic, subject_id, payload)
values (:tenant, 'execution.started', :subject, jsonb_build_object('execution', :subject::uuid));

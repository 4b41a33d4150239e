-- name: reserve_idempotency_key
-- role: web_app
-- set: app.tenant_id = :tenant
-- param tenant: from identity.tenants.id
-- param key: text = 'request-' || gen_random_uuid()
-- param request: text = 'the canonical form of the request'
-- budget: blocks 20, rows_scanned_per_row 1
-- A row comes back to whoever may go on: the first to ask, or the first after a holder's lease has ended.
-- Everybody else gets none, and then reads whether there is an answer already or somebody still works on it.
insert into messaging.idempotency_keys as held (tenant_id, operation, key, request_hash, leased_until)
values (:tenant, 'start execution', :key, sha256(convert_to(:request, 'UTF8')), now() + interval '30 seconds')
on conflict (tenant_id, operation, key) do update
set leased_until = excluded.leased_until, attempts = held.attempts + 1
where held.completed_at is null
    and held.leased_until < now()
    and held.request_hash = excluded.request_hash
returning held.attempts, held.leased_until;

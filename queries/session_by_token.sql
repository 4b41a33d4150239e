-- name: session_by_token
-- role: web_app
-- set: app.tenant_id = :tenant
-- param tenant: from identity.tenants.id
-- param token_hash: from identity.sessions.token_hash
-- budget: blocks 12, rows_scanned_per_row 3
-- Runs at the beginning of every request.
select sessions.id, sessions.operator_id, operators.role, sessions.expires_at
from identity.sessions
join identity.operators
    on operators.tenant_id = sessions.tenant_id
    and operators.id = sessions.operator_id
where sessions.token_hash = :token_hash
    and sessions.revoked_at is null
    and sessions.expires_at > now()
    and operators.disabled_at is null;

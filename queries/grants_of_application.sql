-- name: grants_of_application
-- role: web_app
-- set: app.tenant_id = :tenant
-- param tenant: from identity.tenants.id
-- param application: from identity.applications.id
-- budget: blocks 75, rows_scanned_per_row 4
-- What an application may do now: asked whenever a token is issued.
select resources.urn, grants.level, grants.expires_at
from identity.grants
join identity.resources
    on resources.tenant_id = grants.tenant_id
    and resources.id = grants.resource_id
where grants.application_id = :application
    and grants.revoked_at is null
    and (grants.expires_at is null or grants.expires_at > now())
order by resources.urn;

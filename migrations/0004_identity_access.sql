-- Identity: who may do what, and how they prove it. Secrets are stored as SHA-256 digests, never as such.
set local role app_owner;

create table identity.ref_access_levels (
    code text primary key,
    description text not null
);
insert into identity.ref_access_levels (code, description) values
    ('read', 'may look'),
    ('write', 'may look and change'),
    ('admin', 'may also hand access on');

create table identity.grants (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    application_id uuid not null,
    resource_id uuid not null,
    level text not null references identity.ref_access_levels (code),
    granted_by uuid not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, application_id) references identity.applications (tenant_id, id),
    foreign key (tenant_id, resource_id) references identity.resources (tenant_id, id),
    foreign key (tenant_id, granted_by) references identity.operators (tenant_id, id)
);
-- At most one grant in force; the revoked ones stay as a record.
create unique index grants_in_force_key on identity.grants (tenant_id, application_id, resource_id, level) where revoked_at is null;
create index on identity.grants (tenant_id, application_id);
create index on identity.grants (tenant_id, resource_id);
create index on identity.grants (tenant_id, granted_by);
create index on identity.grants (level);
call identity.isolate_by_tenant('identity.grants');

create table identity.sessions (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    operator_id uuid not null,
    token_hash bytea not null check (octet_length(token_hash) = 32),
    created_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    expires_at timestamptz not null,
    revoked_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, token_hash),
    foreign key (tenant_id, operator_id) references identity.operators (tenant_id, id) on delete cascade
);
create index on identity.sessions (tenant_id, operator_id);
create index on identity.sessions (tenant_id, expires_at);
call identity.isolate_by_tenant('identity.sessions');

create table identity.admin_tokens (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    label text not null,
    token_hash bytea not null check (octet_length(token_hash) = 32),
    created_by uuid not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    last_used_at timestamptz,
    revoked_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, token_hash),
    foreign key (tenant_id, created_by) references identity.operators (tenant_id, id)
);
comment on table identity.admin_tokens is 'A token for automation. Only its digest is kept, so a copy of this table opens nothing.';
create index on identity.admin_tokens (tenant_id, created_by);
call identity.isolate_by_tenant('identity.admin_tokens');

create table identity.step_up_challenges (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    session_id uuid not null,
    challenge_hash bytea not null check (octet_length(challenge_hash) = 32),
    attempts integer not null default 0 check (attempts between 0 and 5),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    answered_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, session_id) references identity.sessions (tenant_id, id) on delete cascade
);
comment on table identity.step_up_challenges is 'A second proof, asked for before something that cannot be undone.';
create index on identity.step_up_challenges (tenant_id, session_id);
call identity.isolate_by_tenant('identity.step_up_challenges');

create table identity.key_references (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    zone_id uuid not null,
    purpose text not null,
    algorithm text not null,
    key_uri text not null,
    created_at timestamptz not null default now(),
    retired_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, zone_id) references identity.zones (tenant_id, id)
);
comment on table identity.key_references is 'Names keys that live in a key service. Key material never enters this database.';
-- One key signs; the retired ones still verify.
create unique index key_references_in_use_key on identity.key_references (tenant_id, zone_id, purpose) where retired_at is null;
create index on identity.key_references (tenant_id, zone_id);
call identity.isolate_by_tenant('identity.key_references');

-- Removes what nobody can use any more. A COMMIT after each batch keeps locks short; it is the reason why this procedure
-- is no SECURITY DEFINER and has no SET clause, so every name in it is qualified.
create procedure identity.purge_sessions(keep interval default interval '30 days', batch_size integer default 1000)
language plpgsql
as $procedure$
declare
    visited_tenant uuid;
    removed bigint;
    removed_in_all bigint := 0;
    started constant timestamptz := pg_catalog.now();
begin
    foreach visited_tenant in array identity.tenant_ids() loop
        loop
            perform pg_catalog.set_config('app.tenant_id', visited_tenant::text, true);
            delete from identity.sessions
            where tenant_id = visited_tenant
                -- Asked again, in case the session was prolonged while this statement waited for its row.
                and expires_at < pg_catalog.now() - keep
                and id in (
                    select id from identity.sessions
                    where tenant_id = visited_tenant and expires_at < pg_catalog.now() - keep
                    order by expires_at limit batch_size
                );
            get diagnostics removed = row_count;
            removed_in_all := removed_in_all + removed;
            commit;
            exit when removed < batch_size or removed = 0;
        end loop;
    end loop;
    insert into maintenance.maintenance_runs (procedure_name, rows_affected, started_at)
    values ('identity.purge_sessions', removed_in_all, started);
end
$procedure$;

grant execute on procedure identity.purge_sessions(interval, integer) to daemon;

grant select on identity.ref_access_levels to web_app, task_runner, daemon;
grant select, insert, update
    on identity.grants, identity.sessions, identity.admin_tokens, identity.step_up_challenges, identity.key_references
    to web_app;
grant select on identity.grants to task_runner;
grant select, delete on identity.sessions to daemon;

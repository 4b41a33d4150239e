-- Audit: what happened. Written by one role that cannot read, read by one that cannot write, final for everybody.
--
-- No foreign keys: evidence outlives what it speaks of, and writing it never waits for a lock on another table.
set local role app_owner;

create table audit.audit_events (
    tenant_id uuid not null,
    occurred_at timestamptz not null default now(),
    id uuid not null default gen_random_uuid(),
    actor_kind text not null check (actor_kind in ('operator', 'application', 'system')),
    actor_id uuid,
    action text not null,
    resource_id uuid,
    request_id uuid,
    detail jsonb not null default '{}',
    primary key (tenant_id, occurred_at, id)
) partition by range (occurred_at);
create index on audit.audit_events (tenant_id, resource_id, occurred_at desc);
call identity.isolate_by_tenant('audit.audit_events');
call maintenance.make_append_only('audit.audit_events');

create table audit.admin_audit_events (
    tenant_id uuid not null,
    id uuid not null default gen_random_uuid(),
    occurred_at timestamptz not null default now(),
    operator_id uuid not null,
    action text not null,
    reason text not null,
    detail jsonb not null default '{}',
    primary key (tenant_id, id)
);
comment on table audit.admin_audit_events is 'What people with special rights did, and the reason that they gave for it.';
create index on audit.admin_audit_events (tenant_id, occurred_at desc);
call identity.isolate_by_tenant('audit.admin_audit_events');
call maintenance.make_append_only('audit.admin_audit_events');

-- Three months ahead, so that a scheduler that fails for weeks loses no event; twelve behind, as people ask for a year.
create procedure audit.roll_partitions(as_of timestamptz default now())
language plpgsql security definer
set search_path = ''
as $procedure$
begin
    call maintenance.roll_monthly('audit.audit_events', 3, 12, as_of);
end
$procedure$;
call audit.roll_partitions();

grant execute on procedure audit.roll_partitions(timestamptz) to daemon;

grant insert on audit.audit_events, audit.admin_audit_events to audit_writer;
grant select on audit.audit_events, audit.admin_audit_events to auditor;

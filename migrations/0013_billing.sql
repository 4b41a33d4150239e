-- Billing: what a tenant may use, and what it used.
set local role app_owner;

create table billing.ref_plans (
    code text primary key,
    description text not null
);
insert into billing.ref_plans (code, description) values
    ('trial', 'free for a month'),
    ('team', 'paid by the seat'),
    ('enterprise', 'paid by contract');

create table billing.ref_meters (
    code text primary key,
    unit text not null,
    description text not null
);
insert into billing.ref_meters (code, unit, description) values
    ('executions', 'count', 'executions that were started'),
    ('agent_minutes', 'minute', 'time for which agent sessions were active'),
    ('stored_bytes', 'byte', 'proofs and snapshots kept');

create table billing.entitlements (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    plan text not null references billing.ref_plans (code),
    meter text not null references billing.ref_meters (code),
    included numeric not null check (included >= 0),
    valid_from timestamptz not null default now(),
    valid_until timestamptz,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, meter, valid_from),
    check (valid_until > valid_from)
);
create index on billing.entitlements (plan);
create index on billing.entitlements (meter);
call identity.isolate_by_tenant('billing.entitlements');

create table billing.metering (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    meter text not null references billing.ref_meters (code),
    quantity numeric not null check (quantity > 0),
    source text not null,
    used_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    -- The event that reports usage is delivered at least once and must be counted once.
    unique (tenant_id, meter, source)
);
-- The quantity is in the index, so that summing a period never visits the table.
create index on billing.metering (tenant_id, meter, used_at) include (quantity);
create index on billing.metering (meter);
call identity.isolate_by_tenant('billing.metering');

-- What is left of the allowance of a period. Null means that nothing was agreed, which is not the same as none left.
create function billing.remaining(for_meter text, since timestamptz, until timestamptz) returns numeric
language sql stable
set search_path = ''
begin atomic
    select entitlements.included - coalesce((
        select sum(metering.quantity)
        from billing.metering
        where metering.tenant_id = identity.current_tenant()
            and metering.meter = for_meter
            and metering.used_at >= since
            and metering.used_at < until
    ), 0)
    from billing.entitlements
    where entitlements.tenant_id = identity.current_tenant()
        and entitlements.meter = for_meter
        and entitlements.valid_from <= since
        and (entitlements.valid_until is null or entitlements.valid_until >= until)
    order by entitlements.valid_from desc
    limit 1;
end;

grant execute on function billing.remaining(text, timestamptz, timestamptz) to web_app, task_runner;

grant select on billing.ref_plans, billing.ref_meters to web_app, web_jobs, task_runner, daemon;
grant select on billing.entitlements to web_app, web_jobs, task_runner;
grant select, insert, update on billing.entitlements to daemon;
grant select on billing.metering to web_app, task_runner;
grant select, insert on billing.metering to web_jobs;

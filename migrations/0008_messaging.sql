-- Messaging: events that leave the database, and requests that must not take effect twice.
set local role app_owner;

create table messaging.ref_topics (
    code text primary key,
    description text not null
);
insert into messaging.ref_topics (code, description) values
    ('execution.started', 'an execution left the queue'),
    ('execution.finished', 'an execution reached a final state'),
    ('grant.changed', 'access was given or taken'),
    ('usage.recorded', 'something billable happened'),
    ('audit.recorded', 'something for the audit trail happened');

-- Written in the transaction of the change that it announces: there is an event if and only if that change was committed.
--
-- The key is no sequence. A reader that remembers the last number it saw loses events, as a lower number may be committed
-- later; and the numbers would tell each tenant how much the others do. Dispatchers claim rows and delete what they delivered.
create table messaging.event_outbox (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    topic text not null references messaging.ref_topics (code),
    subject_id uuid not null,
    payload jsonb not null default '{}',
    attempts integer not null default 0,
    available_at timestamptz not null default now(),
    claimed_by text,
    claimed_until timestamptz,
    last_error text,
    dead_at timestamptz,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id)
);
create index event_outbox_deliverable_idx on messaging.event_outbox (tenant_id, available_at) where dead_at is null;
create index event_outbox_dead_idx on messaging.event_outbox (tenant_id, dead_at) where dead_at is not null;
create index on messaging.event_outbox (topic);
call identity.isolate_by_tenant('messaging.event_outbox');

-- Claims events for a while. A dispatcher that crashes loses its claim by the clock, and delivery is tried again:
-- at least once, so that consumers have to be idempotent.
create function messaging.claim_events(dispatcher text, batch_size integer default 20, hold interval default interval '30 seconds')
returns setof messaging.event_outbox
language sql
set search_path = ''
begin atomic
    update messaging.event_outbox as event
    set claimed_by = dispatcher,
        claimed_until = now() + hold,
        available_at = now() + hold,
        attempts = event.attempts + 1
    where event.tenant_id = identity.current_tenant() and event.id in (
        select due.id from messaging.event_outbox as due
        where due.tenant_id = identity.current_tenant() and due.dead_at is null and due.available_at <= now()
        order by due.available_at limit batch_size
        for update skip locked
    )
    returning event.*;
end;

-- Puts an event back with a growing delay, and gives it up after ten attempts. A dead event stays until somebody decides.
create function messaging.fail_event(event_id uuid, reason text) returns void
language sql
set search_path = ''
begin atomic
    update messaging.event_outbox
    set claimed_by = null,
        claimed_until = null,
        last_error = reason,
        dead_at = case when attempts >= 10 then now() end,
        available_at = now() + interval '1 second' * power(2, least(attempts, 10))
    where tenant_id = identity.current_tenant() and id = event_id;
end;

create table messaging.idempotency_keys (
    tenant_id uuid not null references identity.tenants (id),
    operation text not null,
    key text not null,
    request_hash bytea not null check (octet_length(request_hash) = 32),
    leased_until timestamptz not null,
    attempts integer not null default 1,
    completed_at timestamptz,
    response_status smallint,
    response_body jsonb,
    created_at timestamptz not null default now(),
    primary key (tenant_id, operation, key),
    check ((completed_at is null) = (response_status is null))
);
comment on table messaging.idempotency_keys is
    'One row per request that a client may send twice. A row that is not completed is a lease: after it ends another may try.';
create index on messaging.idempotency_keys (tenant_id, created_at);
call identity.isolate_by_tenant('messaging.idempotency_keys');

-- A completed request stays completed, and a key stays bound to the request that it was first used for.
create function messaging.keep_completed() returns trigger
language plpgsql
set search_path = ''
as $function$
begin
    if old.completed_at is not null or new.request_hash <> old.request_hash then
        raise exception 'this idempotency key is bound to another request, or is completed'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    return new;
end
$function$;
create trigger keep_completed before update on messaging.idempotency_keys
    for each row execute function messaging.keep_completed();

create procedure messaging.purge_idempotency_keys(keep interval default interval '7 days', batch_size integer default 1000)
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
            delete from messaging.idempotency_keys
            where tenant_id = visited_tenant and (operation, key) in (
                select operation, key from messaging.idempotency_keys
                where tenant_id = visited_tenant and created_at < pg_catalog.now() - keep
                order by created_at limit batch_size
            );
            get diagnostics removed = row_count;
            removed_in_all := removed_in_all + removed;
            commit;
            exit when removed < batch_size or removed = 0;
        end loop;
    end loop;
    insert into maintenance.maintenance_runs (procedure_name, rows_affected, started_at)
    values ('messaging.purge_idempotency_keys', removed_in_all, started);
end
$procedure$;

grant execute on function messaging.claim_events(text, integer, interval) to web_jobs;
grant execute on function messaging.fail_event(uuid, text) to web_jobs;
grant execute on procedure messaging.purge_idempotency_keys(interval, integer) to daemon;

grant select on messaging.ref_topics to web_app, web_jobs, task_runner;
grant insert on messaging.event_outbox to web_app, task_runner;
grant select, insert, update, delete on messaging.event_outbox to web_jobs;
grant select, insert, update on messaging.idempotency_keys to web_app;
grant select, delete on messaging.idempotency_keys to daemon;

-- Coordinated reindexing: a queue of requests, and one index at a time in the whole database.
set local role app_owner;

create table maintenance.reindex_requests (
    id bigint generated always as identity primary key,
    index_name text not null,
    requested_by name not null default current_user,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    outcome text
);
create unique index reindex_requests_open_key on maintenance.reindex_requests (index_name) where finished_at is null;

-- Two rebuilds at once would double the extra disk space and compete for the same reads, so everybody asks for one lock.
create function maintenance.reindex_lock_key() returns bigint
language sql immutable parallel safe
return pg_catalog.hashtextextended('maintenance.reindex', 0);

-- Notes that an index should be rebuilt. Only indexes of this schema's owner are taken, each once until it is done.
create function maintenance.request_reindex(target regclass) returns void
language plpgsql security definer
set search_path = ''
as $function$
begin
    if not exists (
        select from pg_catalog.pg_class
        where pg_class.oid = target and relkind = 'i' and relowner = current_user::regrole
    ) then
        raise exception '% is no index that may be rebuilt here', target using errcode = 'wrong_object_type';
    end if;
    insert into maintenance.reindex_requests (index_name, requested_by) values (target::text, session_user)
    on conflict do nothing;
end
$function$;

-- Rebuilds the index that has waited longest. Readers go on, writers of its table wait: this is for small indexes, and
-- at a quiet hour. Where a rebuild already runs, or somebody holds the table, it gives way and leaves the request open.
--
-- REINDEX CONCURRENTLY cannot run inside a procedure. For a large index the client itself takes the same lock with
-- pg_advisory_lock(maintenance.reindex_lock_key()), runs REINDEX INDEX CONCURRENTLY, and closes the request.
create procedure maintenance.reindex_next()
language plpgsql security definer
set search_path = ''
set lock_timeout = '2s'
as $procedure$
declare
    request maintenance.reindex_requests;
    result text := 'done';
begin
    if not pg_catalog.pg_try_advisory_xact_lock(maintenance.reindex_lock_key()) then
        return;
    end if;
    select * into request from maintenance.reindex_requests where finished_at is null order by id limit 1;
    if not found then
        return;
    end if;
    begin
        if pg_catalog.to_regclass(request.index_name) is null then
            result := 'dropped meanwhile';
        else
            -- The name came out of regclass and is quoted where it has to be.
            execute 'reindex index ' || request.index_name;
        end if;
    exception
        when lock_not_available then return;
    end;
    update maintenance.reindex_requests set finished_at = pg_catalog.clock_timestamp(), outcome = result
    where reindex_requests.id = request.id;
end
$procedure$;

grant execute on function maintenance.reindex_lock_key() to daemon;
grant execute on function maintenance.request_reindex(regclass) to daemon;
grant execute on procedure maintenance.reindex_next() to daemon;
grant select on maintenance.reindex_requests to daemon;

-- Agents: which program acts, on whose behalf, and through which gateway.
set local role app_owner;

create table agents.ref_agent_session_states (
    code text primary key,
    description text not null
);
insert into agents.ref_agent_session_states (code, description) values
    ('active', 'may act'),
    ('ended', 'ended by itself'),
    ('revoked', 'ended by somebody else');

create table agents.agent_sessions (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    application_id uuid not null,
    spec_version integer not null,
    execution_id uuid,
    state text not null default 'active' references agents.ref_agent_session_states (code),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    ended_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, application_id, spec_version)
        references policy.agent_spec_versions (tenant_id, application_id, version),
    foreign key (tenant_id, execution_id) references workflow.executions (tenant_id, id),
    check ((state = 'active') = (ended_at is null))
);
comment on table agents.agent_sessions is 'One run of an agent, pinned to the version of its specification.';
create index on agents.agent_sessions (tenant_id, application_id, spec_version);
create index on agents.agent_sessions (tenant_id, execution_id);
create index on agents.agent_sessions (state);
call identity.isolate_by_tenant('agents.agent_sessions');

create table agents.delegation_edges (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    delegator_id uuid not null,
    delegate_id uuid not null,
    scopes text[] not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    revoked_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, delegator_id, delegate_id),
    foreign key (tenant_id, delegator_id) references agents.agent_sessions (tenant_id, id),
    foreign key (tenant_id, delegate_id) references agents.agent_sessions (tenant_id, id),
    check (delegator_id <> delegate_id),
    check (cardinality(scopes) > 0)
);
comment on table agents.delegation_edges is 'One agent acts for another. The edges are followed from the delegate back to a person.';
create index on agents.delegation_edges (tenant_id, delegate_id);
call identity.isolate_by_tenant('agents.delegation_edges');

create table agents.gateway_bindings (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    agent_session_id uuid not null,
    resource_id uuid not null,
    gateway text not null,
    created_at timestamptz not null default now(),
    released_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, agent_session_id) references agents.agent_sessions (tenant_id, id),
    foreign key (tenant_id, resource_id) references identity.resources (tenant_id, id)
);
comment on table agents.gateway_bindings is
    'Through which gateway a session reaches a resource. One at a time, so that traffic has one place to be stopped.';
create unique index gateway_bindings_in_use_key
    on agents.gateway_bindings (tenant_id, agent_session_id, resource_id) where released_at is null;
create index on agents.gateway_bindings (tenant_id, agent_session_id);
create index on agents.gateway_bindings (tenant_id, resource_id);
call identity.isolate_by_tenant('agents.gateway_bindings');

-- All sessions that act, directly or not, for the given one: what has to stop when it is revoked.
create function agents.delegates_of(session_id uuid) returns table (delegate_id uuid, depth integer)
language sql stable
set search_path = ''
begin atomic
    with recursive reached (delegate_id, depth) as (
        select edge.delegate_id, 1
        from agents.delegation_edges as edge
        where edge.tenant_id = identity.current_tenant() and edge.delegator_id = session_id and edge.revoked_at is null
        union
        select edge.delegate_id, reached.depth + 1
        from reached
        join agents.delegation_edges as edge
            on edge.tenant_id = identity.current_tenant() and edge.delegator_id = reached.delegate_id and edge.revoked_at is null
        -- The bound also ends the search where somebody delegated in a circle.
        where reached.depth < 8
    )
    select reached.delegate_id, min(reached.depth) from reached group by reached.delegate_id;
end;

grant execute on function agents.delegates_of(uuid) to web_app, task_runner;

grant select on agents.ref_agent_session_states to web_app, task_runner, daemon;
grant select, insert, update on agents.agent_sessions, agents.delegation_edges, agents.gateway_bindings to web_app;
grant select, insert, update on agents.agent_sessions, agents.delegation_edges, agents.gateway_bindings to task_runner;
grant select on agents.agent_sessions, agents.gateway_bindings to daemon;

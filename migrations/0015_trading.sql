-- Trading: a second product on the same database. Its books are kept by double entry.
set local role app_owner;

create table trading.ref_currencies (
    code text primary key check (code ~ '^[A-Z]{3,5}$'),
    decimals smallint not null check (decimals between 0 and 8)
);
insert into trading.ref_currencies (code, decimals) values
    ('EUR', 2),
    ('USD', 2),
    ('BTC', 8);

create table trading.ref_run_states (
    code text primary key,
    description text not null
);
insert into trading.ref_run_states (code, description) values
    ('running', 'trades'),
    ('stopped', 'ended as planned'),
    ('halted', 'ended by a limit');

create table trading.strategies (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    slug text not null,
    title text not null,
    parameters jsonb not null default '{}',
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, slug)
);
call identity.isolate_by_tenant('trading.strategies');

-- A set of accounts in one currency. Amounts in different currencies can never balance each other.
create table trading.ledgers (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    name text not null,
    currency text not null references trading.ref_currencies (code),
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, name)
);
create index on trading.ledgers (currency);
call identity.isolate_by_tenant('trading.ledgers');
call maintenance.make_append_only('trading.ledgers');

create table trading.ledger_accounts (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    ledger_id uuid not null,
    name text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, ledger_id, name),
    -- The key that postings refer to, so that an account and a transaction of two ledgers never meet.
    unique (tenant_id, ledger_id, id),
    foreign key (tenant_id, ledger_id) references trading.ledgers (tenant_id, id)
);
call identity.isolate_by_tenant('trading.ledger_accounts');

create table trading.bots (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    strategy_id uuid not null,
    ledger_id uuid not null,
    name text not null,
    created_at timestamptz not null default now(),
    retired_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, name),
    foreign key (tenant_id, strategy_id) references trading.strategies (tenant_id, id),
    foreign key (tenant_id, ledger_id) references trading.ledgers (tenant_id, id)
);
create index on trading.bots (tenant_id, strategy_id);
create index on trading.bots (tenant_id, ledger_id);
call identity.isolate_by_tenant('trading.bots');

create table trading.runs (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    bot_id uuid not null,
    state text not null default 'running' references trading.ref_run_states (code),
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, bot_id) references trading.bots (tenant_id, id)
);
-- A bot trades in one run at a time.
create unique index runs_running_key on trading.runs (tenant_id, bot_id) where state = 'running';
create index on trading.runs (tenant_id, bot_id);
create index on trading.runs (state);
call identity.isolate_by_tenant('trading.runs');

create table trading.ledger_transactions (
    tenant_id uuid not null references identity.tenants (id),
    id uuid not null default gen_random_uuid(),
    ledger_id uuid not null,
    run_id uuid,
    description text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, ledger_id, id),
    foreign key (tenant_id, ledger_id) references trading.ledgers (tenant_id, id),
    foreign key (tenant_id, run_id) references trading.runs (tenant_id, id)
);
create index on trading.ledger_transactions (tenant_id, run_id);
create index on trading.ledger_transactions (tenant_id, ledger_id, created_at);
call identity.isolate_by_tenant('trading.ledger_transactions');
call maintenance.make_append_only('trading.ledger_transactions');

create table trading.ledger_postings (
    tenant_id uuid not null references identity.tenants (id),
    transaction_id uuid not null,
    line integer not null check (line > 0),
    ledger_id uuid not null,
    account_id uuid not null,
    amount numeric(30, 8) not null check (amount <> 0),
    created_at timestamptz not null default now(),
    primary key (tenant_id, transaction_id, line),
    foreign key (tenant_id, ledger_id, transaction_id) references trading.ledger_transactions (tenant_id, ledger_id, id),
    foreign key (tenant_id, ledger_id, account_id) references trading.ledger_accounts (tenant_id, ledger_id, id)
);
comment on column trading.ledger_postings.amount is 'Positive for a debit, negative for a credit.';
create index on trading.ledger_postings (tenant_id, ledger_id, transaction_id);
-- A balance is a sum over one account, and this index alone can answer it.
create index on trading.ledger_postings (tenant_id, ledger_id, account_id) include (amount);
call identity.isolate_by_tenant('trading.ledger_postings');
call maintenance.make_append_only('trading.ledger_postings');

-- What is taken from one account arrives in another: the postings of a transaction sum to zero.
--
-- Judged at COMMIT, since postings are inserted one after the other. IS DISTINCT FROM, because the sum is null where the
-- policy hides the postings: whoever changes the tenant before COMMIT is refused instead of being believed.
create function trading.require_balance() returns trigger
language plpgsql
set search_path = ''
as $function$
declare
    total numeric;
begin
    select sum(amount) into total
    from trading.ledger_postings
    where tenant_id = new.tenant_id and transaction_id = new.transaction_id;
    if total is distinct from 0 then
        raise exception 'the postings of ledger transaction % do not sum to zero', new.transaction_id
            using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end
$function$;
create constraint trigger require_balance after insert on trading.ledger_postings
    deferrable initially deferred
    for each row execute function trading.require_balance();

grant select on trading.ref_currencies, trading.ref_run_states to web_app, task_runner;
grant select, insert, update on trading.strategies, trading.bots to web_app;
grant select, insert on trading.ledgers, trading.ledger_accounts to web_app;
grant select on trading.runs, trading.ledger_transactions, trading.ledger_postings to web_app;
grant select on trading.strategies, trading.bots, trading.ledgers, trading.ledger_accounts to task_runner;
grant select, insert, update on trading.runs to task_runner;
grant select, insert on trading.ledger_transactions, trading.ledger_postings to task_runner;
grant select on trading.ledgers, trading.ledger_accounts, trading.ledger_transactions, trading.ledger_postings to auditor;

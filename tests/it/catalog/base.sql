create schema crm;
create type crm.mood as enum ('sad', 'happy');
create domain crm.email as text constraint has_at check (value like '%@%');
create function crm.touch() returns trigger language plpgsql as 'begin
    return new;
end';
create function crm.add(a integer, b integer) returns integer language sql as 'select a + b';
create procedure crm.tidy() language sql as 'select 1';
create table crm.tenants (
    id integer generated always as identity primary key,
    name text not null,
    note text default 'none',
    mood crm.mood,
    constraint short check (length(name) < 100)
);
create table crm.people (id serial primary key, tenant_id integer not null, age integer);
alter table crm.people add constraint adult check (age > 17) not valid;
create index people_age on crm.people (age);
create table crm.events (at date not null, kind text) partition by range (at);
create table crm.events_2024 partition of crm.events for values from ('2024-01-01') to ('2025-01-01');
create view crm.named as select id, name from crm.tenants;
create materialized view crm.summary as select count(*) as n from crm.tenants;
create trigger touch before update on crm.tenants for each row execute function crm.touch();
create rule keep as on delete to crm.people do instead nothing;
create policy own on crm.tenants using (id = 1);
create sequence crm.numbers;
create publication changes for table crm.tenants;

-- What tests have that name no migrations: those of `it/dropin`, and all that do not care.
create table people (id int primary key generated always as identity, name text unique not null);

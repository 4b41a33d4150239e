-- Vectors without an index of their own kind, and with one.
create extension vector;

create table plain (id serial primary key, embedding vector(3));
insert into plain (embedding) select format('[%s,%s,%s]', i, i / 3.0, -i)::vector from generate_series(1, 20) i;

create table halved (id serial primary key, embedding halfvec(3));
insert into halved (embedding) select '[0.1,0.2,0.3]' from generate_series(1, 3);
create index on halved (id);

create table indexed (id serial, label text, embedding vector(3) not null);
insert into indexed (embedding) select format('[%s,%s,%s]', i, i, i)::vector from generate_series(1, 60) i;
create index on indexed using hnsw (embedding vector_l2_ops);

create table listed (id serial primary key, embedding vector(3) not null);
insert into listed (embedding) select format('[%s,%s,%s]', i, i, i)::vector from generate_series(1, 60) i;
create index on listed using ivfflat (embedding vector_l2_ops) with (lists = 4);

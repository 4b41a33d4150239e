-- no-transaction
create index concurrently on elsewhere (n);

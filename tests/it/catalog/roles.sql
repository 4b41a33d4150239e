do $$
begin
    create role catalog_owner;
exception when duplicate_object or unique_violation then null;
end $$;
do $$
begin
    create role catalog_app;
exception when duplicate_object or unique_violation then null;
end $$;

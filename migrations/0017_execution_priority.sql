-- Executions get a priority. Expand only: the release that runs now neither reads nor writes the column.
set local role app_owner;

-- An ALTER TABLE that waits for its lock makes everybody who comes after it wait as well. Better to give up and be run again.
set local lock_timeout = '5s';

-- Nullable and without a default, so that nothing is rewritten. NOT VALID, so that the rows there are not scanned under
-- this lock; a later migration validates under a weaker one. Readers take null for 5 until then.
alter table workflow.executions
    add column priority smallint,
    add constraint executions_priority_check check (priority between 0 and 9) not valid;

-- New rows get the default from now on. Given together with ADD COLUMN it would be the value of the old rows too.
alter table workflow.executions alter column priority set default 5;

-- Fills in the old rows, in batches and tenant by tenant: an update without a tenant context would see no row at all,
-- and would succeed without having done anything.
create procedure workflow.backfill_execution_priority(batch_size integer)
language plpgsql
as $procedure$
declare
    visited_tenant uuid;
    changed bigint;
begin
    foreach visited_tenant in array identity.tenant_ids() loop
        loop
            perform pg_catalog.set_config('app.tenant_id', visited_tenant::text, true);
            update workflow.executions
            set priority = 5
            where tenant_id = visited_tenant and id in (
                select id from workflow.executions
                where tenant_id = visited_tenant and priority is null
                limit batch_size
            );
            get diagnostics changed = row_count;
            commit;
            exit when changed < batch_size or changed = 0;
        end loop;
    end loop;
end
$procedure$;

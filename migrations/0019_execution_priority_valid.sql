-- Validates the constraint that 0017 added. Reads and writes go on meanwhile.
--
-- A CHECK is validated by a scan that row-level security does not filter. A foreign key is validated by a query that runs
-- as the owner: under FORCE ROW LEVEL SECURITY, and without a tenant, it would see no rows and find everything in order.
set local role app_owner;
set local lock_timeout = '5s';

alter table workflow.executions validate constraint executions_priority_check;

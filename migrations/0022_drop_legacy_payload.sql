-- pgharness:phase contract
-- Removes what the last release that needed it took with it: jobs carry JSON since the release before the previous one,
-- and every execution has its priority. Contract steps run only once no older release is left to roll back to.
set local role app_owner;
set local lock_timeout = '5s';

alter table workflow.jobs drop column legacy_payload;
drop procedure workflow.backfill_execution_priority(integer);

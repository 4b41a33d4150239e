-- pgharness:phase contract
-- Removes what no release still in service uses: the text payload of jobs, which payload replaced, and the backfill that
-- has run. A contract step is applied only when nobody will roll back to a release that needs what it drops.
set local role app_owner;
set local lock_timeout = '5s';

alter table workflow.jobs drop column legacy_payload;
drop procedure workflow.backfill_execution_priority(integer);

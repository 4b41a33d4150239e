-- no-transaction
-- The procedure commits after each batch, which is only possible outside a transaction. Interrupted, it can be called again.
call workflow.backfill_execution_priority(1000);

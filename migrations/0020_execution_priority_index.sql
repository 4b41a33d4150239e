-- no-transaction
-- CONCURRENTLY lets writes go on, and is refused inside a transaction: hence a file of its own with this one statement.
-- IF NOT EXISTS is for a run that was cut off between building the index and noting that it did.
create index concurrently if not exists executions_waiting_idx
    on workflow.executions (tenant_id, priority, created_at) where state = 'queued';

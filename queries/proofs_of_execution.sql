-- name: proofs_of_execution
-- role: auditor
-- set: app.tenant_id = :tenant
-- param tenant: from identity.tenants.id
-- param execution: from workflow.proof_records.execution_id
-- budget: blocks 15, rows_scanned_per_row 2
-- Each partition is asked, because a proof may be recorded long after its execution began.
select proof_records.recorded_at, proof_records.kind, encode(proof_records.payload_hash, 'hex') as payload_hash
from workflow.proof_records
where proof_records.execution_id = :execution
order by proof_records.recorded_at;

-- name: account_balances
-- role: web_app
-- set: app.tenant_id = :tenant
-- param tenant: from identity.tenants.id
-- param ledger: from trading.ledgers.id
-- budget: blocks 40, rows_scanned_per_row 500
-- Nowhere is a balance stored: it is the sum of the postings, so that it cannot disagree with them.
select ledger_accounts.name, coalesce(sum(ledger_postings.amount), 0) as balance
from trading.ledger_accounts
left join trading.ledger_postings
    on ledger_postings.tenant_id = ledger_accounts.tenant_id
    and ledger_postings.ledger_id = ledger_accounts.ledger_id
    and ledger_postings.account_id = ledger_accounts.id
where ledger_accounts.ledger_id = :ledger
group by ledger_accounts.tenant_id, ledger_accounts.id, ledger_accounts.name
order by ledger_accounts.name;

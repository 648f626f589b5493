-- claim_mismatches: records whose claim does not fit their status.
-- One row per record. In progress means claimed with a lease, pending means unclaimed; only a
-- pending record waits for a retry.
{{ record_ledger.refuse_ledger_schema() }}
with records as (
    select * from {{ source('record_ledger', 'pipeline_records') }}
)

select
    records.pipeline_id,
    records.window_start_time,
    records.status,
    records.claim_token,
    records.run_id,
    records.lease_expires_at,
    records.retry_at
from records
where (records.status = 'IN_PROGRESS') <> (records.lease_expires_at is not null)
    -- The ledger hides the tokens of records in progress from roles that only read.
    or (
        records.status = 'IN_PROGRESS'
        and records.claim_token is null
        and (select record_ledger.sees_tokens())
    )
    or (records.status = 'PENDING' and records.claim_token is not null)
    or (records.status = 'PENDING' and records.run_id is not null)
    or (records.status <> 'PENDING' and records.retry_at is not null)

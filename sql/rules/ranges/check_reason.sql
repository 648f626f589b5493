-- record_ledger.check_reason: raises RL005 unless an operator says why.
-- The history keeps the reason for the operators who will look for it.
-- Called by: backfill_records, cancel_records, expire_leases, pause_pipeline, range_step, reopen_records,
--   resume_pipeline, retire_pipeline, waive_counts, waive_records.
-- Uses: none.
-- Tests: test_bounds.py, test_ranges.py.
create or replace function record_ledger.check_reason(
    reason text, is_optional boolean default false
)
returns void
language plpgsql
immutable
as $$
begin
    if not is_optional and coalesce(reason !~ '[^[:space:]]', true) then
        raise exception 'reason: must not be blank'
            using errcode = 'RL005',
            hint = 'Say why in a few words: the history keeps them, with the role and the time.';
    end if;
    if octet_length(reason) > 8192 then
        raise exception 'reason: it is % bytes long; give 8192 at most', octet_length(reason)
            using errcode = 'RL005',
            hint = 'Say why in a few words: each sentence about the change quotes them.';
    end if;
end
$$;
comment on function record_ledger.check_reason(text, boolean) is
'Private. Raises RL005 for a reason that is null or blank, unless it is optional, or of more than 8 KiB.';

-- record_ledger.is_stage: can a text name a stage at which records are counted?
-- The usual names are source, stage and target; a team may choose its own.
-- Called by: check_stage, required_counts_problems.
-- Uses: none.
-- Tests: test_observations.py, test_required_counts.py.
create or replace function record_ledger.is_stage(stage text)
returns boolean
language sql
immutable
as $$
    select coalesce(stage ~ '[^[:space:]]' and octet_length(stage) <= 255, false)
$$;
comment on function record_ledger.is_stage(text) is
'Whether a text can name a stage: 1 to 255 bytes that are not all blank.';

-- record_ledger.check_reason: raises RL005 unless an operator says why.
-- The reason is kept in the history, where the next one who wonders will look for it.
-- Called by: waive_records, reopen_records, expire_leases, pause_pipeline, retire_pipeline.
-- Rules: none.
create or replace function record_ledger.check_reason(reason text)
returns void
language plpgsql
immutable
as $$
begin
    if coalesce(reason !~ '[^[:space:]]', true) then
        raise exception 'reason: % is no reason', coalesce('"' || left(reason, 80) || '"', 'null')
            using errcode = 'RL005',
            hint = 'Say why in a few words: they are kept with who did it and when.';
    end if;
end
$$;
comment on function record_ledger.check_reason(text) is
'Private. Raises RL005 for a reason that is null or blank.';

-- record_ledger.check_stage: raises RL005 unless a text can name a stage at which records are counted.
-- The error gives the text, and says what a stage's name is.
-- Called by: adopt_observations, observe_record.
-- Uses: is_stage.
-- Tests: test_observations.py.
create or replace function record_ledger.check_stage(stage text)
returns void
language plpgsql
immutable
as $$
begin
    if not record_ledger.is_stage(stage) then
        raise exception 'stage: % is not a valid stage name; give a text of 1 to 255 bytes',
            coalesce('"' || left(stage, 80) || '"', 'null') using errcode = 'RL005';
    end if;
end
$$;
comment on function record_ledger.check_stage(text) is
'Private. Raises RL005 for a text that is not a valid stage name.';

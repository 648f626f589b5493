-- record_ledger.check_run_id: refuses a run id that could not be bound.
-- Null is allowed and binds nothing.
-- Called by: pass_valid_record, store_new_and_pass_valid_record.
-- Rules: none.
create or replace function record_ledger.check_run_id(run_id text)
returns void
language plpgsql
immutable
as $$
begin
    if run_id !~ '\S' or octet_length(run_id) > 1024 then
        raise exception 'run_id: "%" is no run id; give a text of 1 to 1024 bytes, or null to bind nothing',
            left(run_id, 80) using errcode = 'RL005';
    end if;
end
$$;
comment on function record_ledger.check_run_id(text) is
'Private. Raises RL005 for a run id that is blank or too long.';

-- record_ledger.batch_to_build: what a runner must render before a whole batch can be passed.
-- Of a batch that was drawn before: its outdated records that could be passed again. Otherwise: the due windows, and
-- the outdated ones among the next record_limit records of each kind.
-- It replaces what the first pass of a batch alone would ask for.
-- Called by: pass_valid_records.
-- Uses: clock, configured, is_same_config, next_answer, windows_to_build.
-- Tests: test_batches.py.
create or replace function record_ledger.batch_to_build(
    config jsonb, run_id text, record_limit integer
)
returns jsonb
language plpgsql
stable
as $$
#variable_conflict use_variable
declare
    v_now timestamptz := record_ledger.clock();
    v_windows jsonb := '[]';
    v_answer record;
    v_is_bound boolean := false;
    p record_ledger.pipeline;
begin
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = coalesce(
        config ->> 'pipeline_id', config #>> '{default_record,pipeline_id}'
    );
    if not record_ledger.is_same_config(p, config) then
        p := record_ledger.configured(p, config);
    end if;
    for k in 1..record_limit loop
        v_answer := record_ledger.next_answer(p, run_id || '/' || k, v_now);
        exit when v_answer.bound_window is null;
        v_is_bound := true;
        if v_answer.is_outdated then
            v_windows := v_windows || record_ledger.windows_to_build(
                p, v_answer.window_start_time, true, null, 1, v_now
            );
        end if;
    end loop;
    if v_is_bound then
        return v_windows;
    end if;
    return record_ledger.windows_to_build(
        p,
        -- The first may be current while later records of the batch are not.
        case when v_answer.verdict = 'READY' then v_answer.window_start_time end,
        false,
        v_answer.waiting_mark,
        record_limit,
        v_now
    );
end
$$;
comment on function record_ledger.batch_to_build(jsonb, text, integer) is
'Private. The windows whose templates the caller must render before a whole batch can be passed.';

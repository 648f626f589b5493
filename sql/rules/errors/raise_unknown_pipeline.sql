-- record_ledger.raise_unknown_pipeline: the one error for a pipeline that is not registered.
-- Raises RL002 with near names, or RL005 when no name was given.
-- Called by: archivable_records, claim_loss, complete_records, is_day_sealed, lock_pipeline, new_windows,
--   oldest_pending_record, pass_valid_record, pipeline_time, plan_runs, raise_no_record, range_effects, recount_due,
--   suggest_x_time_back, window_time.
-- Uses: near_names.
-- Tests: test_poison.py.
create or replace function record_ledger.raise_unknown_pipeline(pipeline_id text)
returns void
language plpgsql
as $$
declare
    v_near text[] := record_ledger.near_names(
        pipeline_id,
        array(
            select p.pipeline_id
            from record_ledger.pipeline as p
            order by p.pipeline_id
            limit 1000
        )
    );
begin
    if pipeline_id is null then
        raise exception 'pipeline_id: null is not a valid name; give that of a registered pipeline'
            using errcode = 'RL005';
    end if;
    raise exception 'unknown pipeline "%"', left(pipeline_id, 255)
        using errcode = 'RL002', hint = case cardinality(v_near)
            when 0 then
                'Register it first: register_pipeline(config), '
                'or store_new_and_pass_valid_record(config, run_id).'
            else 'Did you mean "' || array_to_string(v_near, '" or "') || '"?'
        end;
end
$$;
comment on function record_ledger.raise_unknown_pipeline(text) is
'Private. Raises RL002 for a pipeline that is not registered.';

-- record_ledger.observe_record: records a count of a record's rows, at a stage such as source or target.
-- A caller may count at any time, also after completion. A count with the current claim token is evidence for
-- completing; a count without a token is not. Any other token raises RL004, and nothing is recorded. A count is never
-- updated. Returns its number.
-- counts_problem judges by it.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: check_detail, check_stage, loaded_count, lock_record, observation_time.
-- Tests: test_observations.py, test_two_counters.py.
create or replace function record_ledger.observe_record(
    pipeline_id text,
    window_start_time timestamptz,
    stage text,
    row_count bigint,
    detail jsonb default '{}',
    claim_token bigint default null
)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    r record_ledger.record;
    v_observation_no integer;
begin
    perform record_ledger.check_stage(observe_record.stage);
    if coalesce(observe_record.row_count < 0, true) then
        raise exception 'row_count: % is not a valid number of rows; '
            'give a whole number, 0 or greater',
            coalesce(observe_record.row_count::text, 'null') using errcode = 'RL005';
    end if;
    if jsonb_typeof(observe_record.detail) <> 'object' then
        raise exception 'detail: % is not a JSON object; give one such as {"bytes": 4096}',
            left(observe_record.detail::text, 80) using errcode = 'RL005';
    end if;
    perform record_ledger.check_detail(observe_record.detail);
    r := record_ledger.lock_record(
        observe_record.pipeline_id, observe_record.window_start_time, observe_record.claim_token
    );
    insert into record_ledger.record_observation (
        pipeline_id,
        window_start_time,
        observation_no,
        observed_at,
        stage,
        row_count,
        detail,
        generation,
        claim_token,
        run_id,
        changed_by
    )
    values (
        r.pipeline_id,
        r.window_start_time,
        coalesce(
            (
                select max(o.observation_no)
                from record_ledger.record_observation as o
                where o.pipeline_id = r.pipeline_id and o.window_start_time = r.window_start_time
            ),
            0
        ) + 1,
        record_ledger.observation_time(r),
        observe_record.stage,
        observe_record.row_count,
        coalesce(observe_record.detail, '{}'),
        r.generation,
        observe_record.claim_token,
        case when observe_record.claim_token is not null then r.run_id end,
        case
            when observe_record.stage = 'source' and r.status = 'COMPLETED'
                then observe_record.row_count - (
                    select l.row_count
                    from record_ledger.loaded_count(
                        r.pipeline_id, r.window_start_time, r.generation
                    ) as l
                )
        end
    )
    returning observation_no into v_observation_no;
    return v_observation_no;
end
$$;
comment on function record_ledger.observe_record(text, timestamptz, text, bigint, jsonb, bigint) is
'Records a count of a record''s rows at a stage; evidence for completing when the claim token is current (RL004 otherwise). Returns its number.';

-- record_ledger.adopt_observations: takes over what earlier claims of the same generation counted, as this claim's own.
-- A later claim of the same generation takes over the counts of earlier ones: of each stage, or of the given one, that
-- this claim has not counted itself. The caller answers for them. A later claim adopts the count of a source that it
-- did not read again, and never that of a target that it loads again.
-- Needs the current claim token, and the claim's window when the caller names one (RL004 otherwise). Returns how many
-- it adopted; a repeated call adds nothing.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: adoptable_observations, check_stage, lock_record, observation_time, raise_claim_lost.
-- Tests: test_observations.py, test_counts_model.py.
create or replace function record_ledger.adopt_observations(
    pipeline_id text,
    claim_token bigint,
    stage text default null,
    window_start_time timestamptz default null
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
    v_window timestamptz;
    r record_ledger.record;
    v_adopted integer;
begin
    if adopt_observations.stage is not null then
        perform record_ledger.check_stage(adopt_observations.stage);
    end if;
    select c.window_start_time into v_window
    from record_ledger.claim as c
    where c.pipeline_id = adopt_observations.pipeline_id
        and c.claim_token = adopt_observations.claim_token;
    if not found or v_window <> adopt_observations.window_start_time then
        perform record_ledger.raise_claim_lost(
            adopt_observations.pipeline_id,
            adopt_observations.claim_token,
            adopt_observations.window_start_time
        );
    end if;
    r := record_ledger.lock_record(
        adopt_observations.pipeline_id, v_window, adopt_observations.claim_token
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
        adopted_no
    )
    select
        a.pipeline_id,
        a.window_start_time,
        row_number() over (order by a.observation_no) + (
            select max(o.observation_no)
            from record_ledger.record_observation as o
            where o.pipeline_id = r.pipeline_id and o.window_start_time = r.window_start_time
        ),
        record_ledger.observation_time(r),
        a.stage,
        a.row_count,
        a.detail,
        r.generation,
        r.claim_token,
        r.run_id,
        coalesce(a.adopted_no, a.observation_no)
    from record_ledger.adoptable_observations(
        r.pipeline_id, r.window_start_time, r.claim_token
    ) as a
    where a.stage = coalesce(adopt_observations.stage, a.stage);
    get diagnostics v_adopted = row_count;
    return v_adopted;
end
$$;
comment on function record_ledger.adopt_observations(text, bigint, text, timestamptz) is
'Takes over what earlier claims of the same generation counted, as evidence of the current claim (RL004 otherwise); returns how many.';

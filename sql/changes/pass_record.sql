-- record_ledger.pass_record: hands the oldest valid record of a locked pipeline to a run, or says why there is none.
-- Collects expired leases and waives lost records first. A passed record has the fields of the config in force, a new
-- claim token and lease; a run keeps its record for good.
-- next_answer decides, next_claim_token draws; this writes it down.
-- Called by: complete_and_pass, pass_valid_record, pass_valid_records, register_store_and_pass.
-- Uses: build_record, built_windows, collect_expired_leases, next_answer, next_claim_token, next_lease_mark,
--   passed_reason, record_json, refuse_token, unbuilt_reason, waive_lost_records, window_timezone.
-- Tests: test_passing.py, test_order.py.
create or replace function record_ledger.pass_record(
    p record_ledger.pipeline,
    run_id text,
    as_of timestamptz,
    -- What the caller rendered; without templates it is not asked for.
    built jsonb,
    out exit_dag boolean,
    out verdict text,
    out reason text,
    out record jsonb,
    -- Nothing was passed, because the next record is outdated and built does not hold it.
    out awaits_build boolean
)
language plpgsql
as $$
#variable_conflict use_column
declare
    v_answer record;
    v_is_collected boolean := false;
    v_token bigint;
    v_attempt integer;
    v_detail jsonb;
    v_fields jsonb;
    v_built record;
begin
    v_answer := record_ledger.next_answer(p, pass_record.run_id, as_of);
    if v_answer.has_expired or v_answer.bound_window is not null then
        -- The run may be ending its own claim right now, and then asks for what that leaves.
        perform
        from record_ledger.record as b
        where b.pipeline_id = p.pipeline_id and b.window_start_time = v_answer.bound_window
            and b.run_id = pass_record.run_id
        for no key update;
        perform record_ledger.collect_expired_leases(p, v_answer.lease_mark, as_of);
        v_is_collected := true;
        v_answer := record_ledger.next_answer(p, pass_record.run_id, as_of, v_is_collected);
    end if;
    if v_answer.lost_before is not null then
        perform record_ledger.waive_lost_records(p, v_answer.lost_before, as_of);
        v_answer := record_ledger.next_answer(p, pass_record.run_id, as_of, v_is_collected);
    end if;
    while v_answer.is_outdated loop
        v_fields := p.fields;
        if p.has_templates then
            v_fields := (
                select b.fields
                from record_ledger.built_windows(built, p) as b
                join record_ledger.record as r
                    on r.pipeline_id = p.pipeline_id
                    and r.window_start_time = b.window_start_time
                    and r.window_end_time = b.window_end_time
                where b.window_start_time = v_answer.window_start_time
            );
        end if;
        if v_fields is null then
            exit_dag := true;
            awaits_build := true;
            verdict := 'INCOMPLETE';
            reason := record_ledger.unbuilt_reason(p, v_answer.window_start_time);
            return;
        end if;
        v_built := record_ledger.build_record(p, v_answer.window_start_time, v_fields, as_of);
        if not v_built.is_event then
            -- The pass itself tells then that it was built anew.
            v_detail := jsonb_build_object('config_version_before', v_built.config_version_before);
        end if;
        exit when v_built.missing_fields is null;
        -- A template gave nothing: this one stays behind, and is not asked for again.
        v_detail := null;
        v_answer := record_ledger.next_answer(p, pass_record.run_id, as_of, v_is_collected);
    end loop;
    verdict := v_answer.verdict;
    reason := v_answer.reason;
    exit_dag := verdict <> 'READY';
    if exit_dag then
        return;
    end if;

    -- Drawn under the pipeline's lock, so that a later pass has a greater token.
    v_token := record_ledger.next_claim_token(v_answer.newest_token, as_of);
    -- Callers that read JSON numbers as floats read tokens exactly below 2^53.
    if v_token >= 9007199254740992 then
        perform record_ledger.refuse_token(p.pipeline_id, v_answer.newest_token, as_of);
    end if;
    with noted as (
        insert into record_ledger.claim (
            pipeline_id,
            claim_token,
            window_start_time,
            bound_run_id,
            waiting_mark,
            active_mark,
            historical_mark,
            returned_mark,
            retry_mark,
            lease_mark,
            others_seen_at,
            historical_credit
        )
        values (
            p.pipeline_id,
            v_token,
            v_answer.window_start_time,
            case when v_answer.bound_window is null then pass_record.run_id end,
            v_answer.waiting_mark,
            least(v_answer.first_active, v_answer.window_start_time),
            v_answer.historical_mark,
            v_answer.returned_mark,
            v_answer.retry_mark,
            record_ledger.next_lease_mark(
                v_answer.first_active, v_answer.lease_mark, as_of + p.lease
            ),
            v_answer.others_seen_at,
            coalesce(v_answer.historical_credit, 0)
        )
    )
    update record_ledger.record as u
    set attempt = u.attempt + (u.status = 'PENDING')::integer,
        claim_token = v_token,
        run_id = pass_record.run_id,
        lease_expires_at = as_of + p.lease,
        retry_at = null,
        postponement = null,
        is_first = v_answer.is_first,
        is_alone = v_answer.is_alone,
        needs_counts = p.required_counts is not null or p.owner_role is not null,
        last_event = case u.status when 'PENDING' then 'passed' else 'passed_again' end,
        last_detail = v_detail,
        updated_at = as_of
    where u.pipeline_id = p.pipeline_id and u.window_start_time = v_answer.window_start_time
    returning record_ledger.record_json(u, record_ledger.window_timezone(p, u.window_start_time)),
        u.attempt
    into record, v_attempt;
    reason := record_ledger.passed_reason(record, pass_record.run_id, v_attempt, p.max_attempts);
end
$$;
comment on function record_ledger.pass_record(record_ledger.pipeline, text, timestamptz, jsonb) is
'Private. Hands the oldest valid record of a locked pipeline to a run, or says why there is none.';

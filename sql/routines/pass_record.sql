-- record_ledger.pass_record: hands the oldest valid record of a locked pipeline to a run, or says why there is none.
-- Collects expired leases first. A record passed has a new claim token and lease; a run keeps its record for good.
-- Called by: pass_valid_record, store_new_and_pass_valid_record.
-- Rules: next_answer decides; this writes it down.
create or replace function record_ledger.pass_record(
    p record_ledger.pipeline,
    run_id text,
    as_of timestamptz,
    out exit_dag boolean,
    out verdict text,
    out reason text,
    out record jsonb
)
language plpgsql
as $$
#variable_conflict use_column
declare
    v_answer record;
    v_token bigint;
    v_first_active timestamptz;
    r record_ledger.record;
begin
    perform record_ledger.collect_expired_leases(p, as_of);
    v_answer := record_ledger.next_answer(p, pass_record.run_id, as_of);
    verdict := v_answer.verdict;
    reason := v_answer.reason;
    exit_dag := verdict <> 'READY';
    if exit_dag then
        return;
    end if;

    select a.window_start_time into v_first_active
    from record_ledger.record as a
    where a.pipeline_id = p.pipeline_id and a.lane = 'active'
        and a.window_start_time >= coalesce(v_answer.active_mark, '-infinity')
    order by a.window_start_time
    limit 1;
    -- Drawn under the pipeline's lock, so that a later pass has a greater token.
    v_token := nextval('record_ledger.claim_token_seq');
    update record_ledger.record as u
    set status = 'IN_PROGRESS',
        attempt = u.attempt + (u.status = 'PENDING')::integer,
        claim_token = v_token,
        run_id = pass_record.run_id,
        lease_expires_at = as_of + p.lease,
        retry_at = null,
        last_event = case u.status when 'PENDING' then 'passed' else 'passed_again' end,
        last_detail = null,
        updated_at = as_of
    where u.pipeline_id = p.pipeline_id and u.window_start_time = v_answer.window_start_time
    returning u.* into r;
    insert into record_ledger.claim (
        pipeline_id, claim_token, window_start_time, bound_run_id, live_mark, active_mark
    )
    values (
        p.pipeline_id, v_token, r.window_start_time,
        case
            when not exists (
                select from record_ledger.claim as c
                where c.pipeline_id = p.pipeline_id and c.bound_run_id = pass_record.run_id
            ) then pass_record.run_id
        end,
        -- Only a record's first event can be its pass from the lane 'live'.
        case
            when r.event_count = 1 and not r.out_of_order then greatest(v_answer.live_mark, r.window_start_time)
            else v_answer.live_mark
        end,
        least(v_first_active, r.window_start_time)
    );
    reason := format(
        'window %s is passed%s, attempt %s of %s', record_ledger.local_time(r.window_start_time, p.timezone),
        ' to run ' || pass_record.run_id, r.attempt, p.max_attempts
    );
    record := record_ledger.record_json(r, p.timezone);
end
$$;
comment on function record_ledger.pass_record(record_ledger.pipeline, text, timestamptz) is
'Private. Hands the oldest valid record of a locked pipeline to a run, or says why there is none.';

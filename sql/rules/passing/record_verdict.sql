-- record_ledger.record_verdict: the one verdict on an open record at an instant, and a sentence that says why.
-- The first that applies: LEASE_EXPIRED, LEASED, LOST, FAILED, PAUSED, INCOMPLETE, UNSTABLE, BACKOFF, BLOCKED,
-- AT_CAPACITY, READY. ready_at: when it can be passed as things stand; null when a run or an operator must act first.
-- Called by: next_answer, pipeline_answer, record_verdicts.
-- Uses: attempt_ending, is_lost, is_stable, iso_time, retry_time, shortened, unstable_reason, window_timezone.
-- Tests: test_verdicts.py.
create or replace function record_ledger.record_verdict(
    r record_ledger.record,
    p record_ledger.pipeline,
    earliest_open timestamptz,
    active_count bigint,
    as_of timestamptz,
    out verdict text,
    out reason text,
    out ready_at timestamptz
)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
-- Ends the effect of set_config below with this function: a caller's session keeps its time zone.
set timezone = 'UTC'
as $$
declare
    v_stable_at timestamptz := r.window_end_time + p.x_time_back;
    v_timezone text := pg_catalog.set_config(
        'timezone', record_ledger.window_timezone(p, r.window_start_time), true
    );
    v_window text;
    v_is_lost boolean := record_ledger.is_lost(r.window_end_time, p.source_retention, as_of);
    -- The pass builds an outdated record, so it is complete when default_record fills its check_fields.
    v_missing constant text[] := case
        when r.config_version >= p.fields_version then r.missing_fields
        else p.missing_fields
    end;
begin
    v_window := 'window ' || record_ledger.iso_time(r.window_start_time);
    if v_is_lost and r.status <> 'IN_PROGRESS' then
        verdict := 'LOST';
        reason := format(
            '%s is lost: its source data was kept until %s, %s after its end; '
            'the next pass waives it',
            v_window, record_ledger.iso_time(r.window_end_time + p.source_retention),
            p.config ->> 'source_retention'
        );
    elsif r.status = 'FAILED' then
        verdict := 'FAILED';
        reason := format(
            '%s failed for good at %s%s: %s', v_window,
            record_ledger.iso_time(r.updated_at),
            -- A cancelled record may have attempts left, and a released attempt is not counted.
            case
                when not coalesce(r.last_detail ? 'cancelled_by', false)
                    then format(' after attempt %s of %s', r.attempt, p.max_attempts)
            end,
            record_ledger.attempt_ending(r.last_event, r.last_detail)
        );
    elsif r.status = 'IN_PROGRESS' and r.lease_expires_at <= as_of then
        verdict := 'LEASE_EXPIRED';
        if r.attempt < p.max_attempts and not v_is_lost and r.cancellation is null
            and p.paused_at is null and v_missing is null
        then
            ready_at := record_ledger.retry_time(
                r.lease_expires_at, r.attempt, r.window_end_time, p
            );
        end if;
        reason := format(
            '%s was passed to %s, whose lease expired at %s; the next pass %s',
            v_window,
            coalesce('run ' || r.run_id, 'a run without an id'),
            record_ledger.iso_time(r.lease_expires_at),
            case
                when v_is_lost then 'waives it as lost: its source data was kept until '
                    || record_ledger.iso_time(r.window_end_time + p.source_retention)
                when r.cancellation is not null
                    then 'marks it failed, as '
                        || record_ledger.attempt_ending(r.last_event, r.cancellation)
                when r.attempt >= p.max_attempts
                    then format(
                        'marks it failed, as attempt %s of %s is used up',
                        r.attempt,
                        p.max_attempts
                    )
                when p.paused_at is not null
                    then 'makes it pending, and the pipeline is '
                        || case when p.is_retired then 'retired' else 'paused' end
                when ready_at is null then 'makes it pending, and it is incomplete'
                when ready_at <= as_of then 'may pass it again'
                else 'makes it pending, to be passed again from '
                    || record_ledger.iso_time(ready_at) || ' on'
            end
        );
    elsif r.status = 'IN_PROGRESS' then
        verdict := 'LEASED';
        reason := format(
            '%s is in progress: %s holds it, attempt %s of %s, until its lease ends at %s%s',
            v_window,
            coalesce('run ' || r.run_id, 'a run without an id'),
            r.attempt,
            p.max_attempts,
            record_ledger.iso_time(r.lease_expires_at),
            '; ' || record_ledger.attempt_ending(r.last_event, r.cancellation)
                || ' (at ' || (r.cancellation ->> 'cancelled_at') || '), so its run is to stop'
        );
    elsif p.paused_at is not null then
        verdict := 'PAUSED';
        reason := format(
            'the pipeline was %s by %s at %s: %s',
            case when p.is_retired then 'retired' else 'paused' end,
            p.paused_by,
            record_ledger.iso_time(p.paused_at),
            record_ledger.shortened(p.pause_reason, 1000)
        );
    elsif v_missing is not null then
        verdict := 'INCOMPLETE';
        reason := format(
            '%s is incomplete: %s %s empty, and the pipeline''s config cannot fill it',
            v_window,
            record_ledger.shortened(array_to_string(v_missing, ', '), 1000),
            case cardinality(v_missing) when 1 then 'is' else 'are' end
        );
    elsif not record_ledger.is_stable(r.window_end_time, p.x_time_back, as_of) then
        verdict := 'UNSTABLE';
        ready_at := greatest(v_stable_at, r.retry_at);
        reason := record_ledger.unstable_reason(
            r.window_start_time, r.window_end_time, p.x_time_back, p.config ->> 'x_time_back'
        );
    elsif r.retry_at > as_of and r.postponement is not null then
        verdict := 'BACKOFF';
        ready_at := r.retry_at;
        reason := format(
            '%s was given back by %s (%s), to be passed to no run before %s%s',
            v_window,
            coalesce('run ' || (r.postponement ->> 'run_id'), 'a run without an id'),
            r.postponement ->> 'released_by',
            record_ledger.iso_time(r.retry_at),
            '; the run asked for ' || (r.postponement ->> 'asked_not_before')
                || ', after half of the time that its source data has left'
        );
    elsif r.retry_at > as_of then
        verdict := 'BACKOFF';
        ready_at := r.retry_at;
        reason := format(
            '%s is tried again from %s on, after attempt %s of %s: %s', v_window,
            record_ledger.iso_time(r.retry_at), r.attempt, p.max_attempts,
            record_ledger.attempt_ending(r.last_event, r.last_detail)
        );
    elsif p.depends_on_past and earliest_open < r.window_start_time then
        verdict := 'BLOCKED';
        reason := format(
            '%s waits for the earlier window %s, which is still open (depends_on_past)', v_window,
            record_ledger.iso_time(earliest_open)
        );
    elsif active_count >= p.max_active_records then
        verdict := 'AT_CAPACITY';
        reason := format(
            '%s waits: %s of %s records are in progress (max_active_records)',
            v_window,
            active_count,
            p.max_active_records
        );
    else
        verdict := 'READY';
        ready_at := greatest(v_stable_at, r.retry_at);
        reason := format(
            '%s is stable since %s and complete', v_window, record_ledger.iso_time(v_stable_at)
        );
    end if;
end
$$;
comment on function record_ledger.record_verdict(
    record_ledger.record, record_ledger.pipeline, timestamptz, bigint, timestamptz
) is
'The one verdict on an open record at an instant, a sentence that says why, and when the record can be passed.';

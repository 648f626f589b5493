-- record_ledger.check_backfill: raises RL005 unless a pipeline's history can be extended back to an instant.
-- Returns where its first stored window starts.
-- Called by: backfill_records, range_effects, range_step.
-- Uses: archive_end, iso_time, local_time, time_interval.
-- Tests: test_backfill.py.
create or replace function record_ledger.check_backfill(
    p record_ledger.pipeline, from_time timestamptz
)
returns timestamptz
language plpgsql
stable
as $$
declare
    v_first_start timestamptz;
    v_count numeric;
begin
    if from_time is null then
        raise exception 'from_time: null is not a valid time'
            using errcode = 'RL005', hint = 'Give the time from which the pipeline needs records.';
    end if;
    if from_time = 'infinity'
        or greatest(from_time, timestamptz '1900-01-01 00:00:00+00') at time zone p.timezone
            < timestamp '1970-01-01 00:00:00'
    then
        raise exception 'from_time: % is out of range', record_ledger.iso_time(from_time)
            using errcode = 'RL005',
            hint = 'Give 1970-01-01 or a later time, by the pipeline''s local time.';
    end if;
    if p.is_retired then
        raise exception 'pipeline % is retired: no record is added to it', p.pipeline_id
            using errcode = 'RL005', hint = 'resume_pipeline(pipeline_id, reason) brings it back.';
    end if;
    select r.window_start_time into v_first_start
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id
    order by r.window_start_time
    limit 1;
    if v_first_start is null then
        raise exception 'pipeline % has no record yet, so there is none to add records before',
            p.pipeline_id
            using errcode = 'RL005',
            hint = 'Put start_at into its config: its first window then starts there.';
    end if;
    -- A backfill is one transaction, which must not run without end.
    v_count := extract(epoch from v_first_start - from_time) / extract(epoch from p.granularity);
    if v_count > 10000000 then
        raise exception 'from_time: % would add % windows of % before the first one; '
            'at most 10000000 can be added in one call',
            record_ledger.local_time(from_time, p.timezone),
            trunc(v_count),
            record_ledger.time_interval(from_time, from_time + p.granularity)
            using errcode = 'RL005', hint = 'Give a later time.';
    end if;
    -- All older records are archived, and the first record starts where the archive ends.
    if from_time < v_first_start and record_ledger.archive_end(p.pipeline_id) is not null then
        raise exception 'from_time: pipeline % is archived until %, so nothing can be added before',
            p.pipeline_id, record_ledger.local_time(v_first_start, p.timezone)
            using errcode = 'RL005',
            hint = 'The view archived_records has the records from before.';
    end if;
    return v_first_start;
end
$$;
comment on function record_ledger.check_backfill(record_ledger.pipeline, timestamptz) is
'Private. Raises RL005 unless records can be added back to an instant; returns where the first stored window starts.';

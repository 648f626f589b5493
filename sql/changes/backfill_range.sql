-- record_ledger.backfill_range: adds records before the first one of a locked pipeline; returns how many.
-- It goes back to the local day of from_time. With max_records it adds only the newest of them, at most max_records and
-- at most 10,000: whole days, or a part of one that has more. first_start then says where the first record starts. All
-- are historical. Those of a pipeline with templates are stored unbuilt. check_backfill has checked what the caller
-- gives.
-- Called by: backfill_records, range_step.
-- Uses: append_pipeline_event, backfill_start, begin_stretch, day_start, lane, local_day, local_time, void_marks,
--   windows_from.
-- Tests: test_backfill.py, test_range_steps.py.
create or replace function record_ledger.backfill_range(
    p record_ledger.pipeline,
    from_time timestamptz,
    reason text,
    max_records integer,
    as_of timestamptz,
    inout first_start timestamptz,
    out added_count integer
)
language plpgsql
as $$
#variable_conflict use_column
declare
    -- Enough to make the overhead of a statement negligible, and few enough to keep the rows in memory for the checks
    -- of the links, which run at its end.
    v_part constant integer := least(backfill_range.max_records, 10000);
    v_to_time constant timestamptz := backfill_range.first_start;
    v_fields jsonb := case when p.has_templates then '{}' else p.fields end;
    v_config_version integer := case when not p.has_templates then p.config_version end;
    v_missing text[] := case when not p.has_templates then p.missing_fields end;
    v_lane text := record_ledger.lane('PENDING', v_missing, v_config_version, false, true, null);
    v_start timestamptz;
    v_count integer;
begin
    added_count := 0;
    -- The newest first: so the history has no gap after any of the parts.
    loop
        v_start := record_ledger.backfill_start(
            p, backfill_range.from_time, backfill_range.first_start, v_part
        );
        with added as materialized (
            select
                w.target_day,
                w.window_start_time,
                least(w.window_end_time, backfill_range.first_start) as window_end_time,
                lag(w.window_start_time) over (order by w.window_start_time)
                    as previous_window_start_time
            from record_ledger.windows_from(
                v_start, backfill_range.first_start, p.granularity, p.timezone, null
            ) as w
        ),

        relinked as (
            update record_ledger.record as r
            set previous_window_start_time = (select max(a.window_start_time) from added as a)
            where r.pipeline_id = p.pipeline_id
                and r.window_start_time = backfill_range.first_start
            returning r.window_start_time
        )

        insert into record_ledger.record (
            pipeline_id,
            window_start_time,
            window_end_time,
            previous_window_start_time,
            target_day,
            fields,
            config_version,
            missing_fields,
            is_historical,
            lane,
            open_pipeline_id,
            created_at,
            updated_at
        )
        select
            p.pipeline_id,
            a.window_start_time,
            a.window_end_time,
            a.previous_window_start_time,
            a.target_day,
            v_fields,
            v_config_version,
            v_missing,
            true,
            v_lane,
            p.pipeline_id,
            as_of,
            as_of
        from added as a
        -- The count forces the order: a pipeline has one first record at any moment, so the old one is linked before
        -- the new one is inserted.
        where (select count(*) from relinked) = 1
        order by a.window_start_time;
        get diagnostics v_count = row_count;
        added_count := added_count + v_count;
        first_start := v_start;
        exit when backfill_range.max_records is not null
            or v_start <= record_ledger.day_start(
                record_ledger.local_day(backfill_range.from_time, p.timezone), p.timezone
            );
    end loop;
    perform record_ledger.void_marks(p.pipeline_id);
    perform record_ledger.begin_stretch(p, v_start);
    perform record_ledger.append_pipeline_event(
        p.pipeline_id,
        'backfilled',
        jsonb_strip_nulls(
            jsonb_build_object(
                'from_time', record_ledger.local_time(v_start, p.timezone),
                'to_time', record_ledger.local_time(v_to_time, p.timezone),
                'record_count', added_count,
                'reason', backfill_range.reason
            )
        ),
        as_of
    );
end
$$;
comment on function record_ledger.backfill_range(
    record_ledger.pipeline, timestamptz, text, integer, timestamptz, timestamptz
) is
'Private. Adds records before the first one of a locked pipeline, the newest first; returns how many, and where the first one then starts.';

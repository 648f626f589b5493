-- record_ledger.store_windows: inserts the due windows of a locked pipeline; returns how many.
-- built null: fields come from a config without templates; with templates, windows are stored unbuilt.
-- built given: each window takes its fields from there, up to the first window that it lacks. An entry of another
-- window or another config_version is ignored: it was rendered for something else.
-- Called by: pass_valid_records, register_store_and_pass, store_new_records.
-- Uses: begin_stretch, built_windows, due_windows, first_window_start, lane, last_window, missing_fields, next_window,
--   note_filled.
-- Tests: test_windows_stored.py.
create or replace function record_ledger.store_windows(
    p record_ledger.pipeline, built jsonb, as_of timestamptz, out stored_count integer
)
language plpgsql
as $$
declare
    v_start timestamptz;
    v_previous_start timestamptz;
    v_horizon timestamptz := as_of - p.x_time_back;
    v_unbuilt boolean := p.has_templates and built is null;
    v_fields jsonb := case when v_unbuilt then '{}' else p.fields end;
    v_missing text[] := case when not v_unbuilt then p.missing_fields end;
    v_config_version integer := case when not v_unbuilt then p.config_version end;
    v_window record;
    -- The windows to store, oldest first, and their fields where built is given.
    v_days date[];
    v_starts timestamptz[];
    v_ends timestamptz[];
    v_built jsonb[];
begin
    stored_count := 0;
    select l.window_start_time, l.window_end_time into v_previous_start, v_start
    from record_ledger.last_window(p.pipeline_id) as l;
    if v_start is null then
        v_start := record_ledger.first_window_start(p, as_of);
    end if;
    -- Nothing was rendered, so nothing is stored: compute no window.
    if v_start >= v_horizon or p.is_retired or built = '[]' then
        return;
    end if;
    v_window := record_ledger.next_window(v_start, p.granularity, p.timezone);
    if built is null and v_window.window_end_time >= v_horizon then
        -- The usual case, without the set-based computation: the pipeline runs on time, and one window is due.
        v_days := array[v_window.target_day];
        v_starts := array[v_start];
        v_ends := array[v_window.window_end_time];
    else
        select
            array_agg(w.target_day order by w.window_start_time),
            array_agg(w.window_start_time order by w.window_start_time),
            array_agg(w.window_end_time order by w.window_start_time),
            array_agg(w.fields order by w.window_start_time)
        into v_days, v_starts, v_ends, v_built
        from (
            select
                d.target_day,
                d.window_start_time,
                d.window_end_time,
                b.fields,
                built is null
                or bool_and(b.fields is not null) over (order by d.window_start_time) as is_known
            -- One call stores at most 64 MiB of fields; the next call continues.
            from record_ledger.due_windows(
                p,
                v_start,
                as_of,
                least(10000, greatest(1, 67108864 / octet_length(p.fields::text)))
            ) as d
            left join record_ledger.built_windows(built, p) as b
                on b.window_start_time = d.window_start_time
                and b.window_end_time = d.window_end_time
        ) as w
        where w.is_known;
        if v_starts is null then
            return;
        end if;
    end if;
    insert into record_ledger.record (
        pipeline_id,
        window_start_time,
        window_end_time,
        previous_window_start_time,
        target_day,
        fields,
        config_version,
        missing_fields,
        lane,
        open_pipeline_id,
        created_at,
        updated_at
    )
    select
        p.pipeline_id,
        w.window_start_time,
        w.window_end_time,
        w.previous_window_start_time,
        w.target_day,
        coalesce(w.fields, v_fields),
        v_config_version,
        m.missing_fields,
        record_ledger.lane('PENDING', m.missing_fields, v_config_version, true, false, null),
        p.pipeline_id,
        as_of,
        as_of
    from unnest(
        v_days, v_starts, v_ends, v_previous_start || v_starts[:cardinality(v_starts) - 1], v_built
    ) as w (target_day, window_start_time, window_end_time, previous_window_start_time, fields)
    cross join lateral (
        select case
                when built is null then v_missing
                else record_ledger.missing_fields(w.fields, p.check_fields)
            end as missing_fields
    ) as m;
    stored_count := cardinality(v_starts);
    if p.missing_fields is not null and built is not null then
        perform record_ledger.note_filled(
            p,
            (
                select min(w.window_start_time)
                from unnest(v_starts, v_built) as w (window_start_time, fields)
                where record_ledger.missing_fields(w.fields, p.check_fields) is null
            )
        );
    end if;
    if p.zone_since is null then
        perform record_ledger.begin_stretch(p, v_start);
    end if;
end
$$;
comment on function record_ledger.store_windows(record_ledger.pipeline, jsonb, timestamptz) is
'Private. Inserts the due windows of a locked pipeline, at most 10,000; returns how many.';

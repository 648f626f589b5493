-- record_ledger.store_windows: inserts the due windows of a locked pipeline; returns how many.
-- built null: fields come from a config without templates, else windows are stored unbuilt.
-- built given: each window takes its fields from there, up to the first window that is missing from it.
-- Called by: store_new_records, store_new_and_pass_valid_record.
-- Rules: first_window_start, next_window, due_windows, missing_fields, lane, begin_stretch.
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
    v_missing text[];
    v_window record;
begin
    stored_count := 0;
    select l.window_start_time, l.window_end_time into v_previous_start, v_start
    from record_ledger.last_window(p.pipeline_id) as l;
    if v_start is null then
        v_start := record_ledger.first_window_start(p, as_of);
    end if;
    if v_start >= v_horizon or p.is_retired then
        return;
    end if;
    if v_unbuilt then
        v_missing := array(select k from jsonb_object_keys(p.fields) as k order by k);
    else
        v_missing := record_ledger.missing_fields(p.fields, p.check_fields);
    end if;
    v_window := record_ledger.next_window(v_start, p.granularity, p.timezone);
    if built is null and v_window.window_end_time >= v_horizon then
        -- The usual case, spared the set-based reckoning: the pipeline runs on time, one window is due.
        insert into record_ledger.record (
            pipeline_id,
            window_start_time,
            window_end_time,
            previous_window_start_time,
            target_day,
            fields,
            config_version,
            missing_fields,
            awaits_build,
            lane,
            open_pipeline_id,
            created_at,
            updated_at
        )
        values (
            p.pipeline_id,
            v_start,
            v_window.window_end_time,
            v_previous_start,
            v_window.target_day,
            v_fields,
            case when not v_unbuilt then p.config_version end,
            v_missing,
            v_unbuilt,
            record_ledger.lane('PENDING', v_missing, v_unbuilt, 0, false, false),
            p.pipeline_id,
            as_of,
            as_of
        );
        stored_count := 1;
        if p.zone_since is null then
            perform record_ledger.begin_stretch(p, v_start);
        end if;
        return;
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
        awaits_build,
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
        w.fields,
        case when not v_unbuilt then p.config_version end,
        w.missing_fields,
        v_unbuilt,
        record_ledger.lane('PENDING', w.missing_fields, v_unbuilt, 0, false, false),
        p.pipeline_id,
        as_of,
        as_of
    from (
        select
            d.target_day,
            d.window_start_time,
            d.window_end_time,
            lag(d.window_start_time, 1, v_previous_start) over (
                order by d.window_start_time
            ) as previous_window_start_time,
            case when built is null then v_fields else b.fields end as fields,
            case
                when built is null then v_missing
                else record_ledger.missing_fields(b.fields, p.check_fields)
            end as missing_fields,
            built is null
                or bool_and(b.fields is not null) over (order by d.window_start_time) as is_known
        from record_ledger.due_windows(p, v_start, as_of, 10000) as d
        left join (
            select distinct on (1)
                (e.element ->> 'window_start_time')::timestamptz as window_start_time,
                e.element -> 'fields' as fields
            from jsonb_array_elements(built) as e (element)
        ) as b on b.window_start_time = d.window_start_time
    ) as w
    where w.is_known
    order by w.window_start_time;
    get diagnostics stored_count = row_count;
    if p.zone_since is null and stored_count > 0 then
        perform record_ledger.begin_stretch(p, v_start);
    end if;
end
$$;
comment on function record_ledger.store_windows(record_ledger.pipeline, jsonb, timestamptz) is
'Private. Inserts the due windows of a locked pipeline, 10,000 at most; returns how many.';

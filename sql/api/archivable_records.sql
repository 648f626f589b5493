-- record_ledger.archivable_records: which records archive_records would move, and why it would stop there; reads only.
-- The oldest records in an unbroken row: up to the first open record, none that ends after before, and never the newest
-- one.
-- Called by: record_ledger_reader, the Python runner, archive_records.
-- Uses: archive_end, lane_heads, last_window, local_time, raise_unknown_pipeline, stretch_timezone.
-- Tests: test_archive.py, test_archive_refusals.py.
create or replace function record_ledger.archivable_records(
    pipeline_id text,
    before timestamptz,
    max_records integer default null,
    out record_count integer,
    out first_window_start_time timestamptz,
    out last_window_start_time timestamptz,
    -- Null, like the two starts, when nothing would be moved.
    out archived_until timestamptz,
    -- Null when only max_records stops it.
    out reason text
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
-- Each look-up below reads an index, even where the tables' statistics suggest otherwise.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
    v_timezone text;
    v_newest timestamptz;
    v_stop timestamptz;
    r record_ledger.record;
begin
    select p.timezone into v_timezone
    from record_ledger.pipeline as p
    where p.pipeline_id = archivable_records.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(archivable_records.pipeline_id);
    end if;
    if before is null or not isfinite(before) then
        raise exception 'before: % is not a valid instant; '
            'give the time up to which records are archived',
            coalesce(before::text, 'null')
            using errcode = 'RL005';
    end if;
    if max_records < 1 then
        raise exception 'max_records: % is less than 1; give how many records may be moved',
            max_records
            using errcode = 'RL005';
    end if;

    record_count := 0;
    -- Where the archive ends: the dead rows of archived records, which an old snapshot keeps, are not read again.
    first_window_start_time := record_ledger.archive_end(archivable_records.pipeline_id);
    if first_window_start_time is null then
        select f.window_start_time into first_window_start_time
        from record_ledger.record as f
        where f.pipeline_id = archivable_records.pipeline_id
        order by f.window_start_time
        limit 1;
    end if;
    select l.window_start_time into v_newest
    from record_ledger.last_window(archivable_records.pipeline_id) as l;
    if v_newest is null then
        reason := 'no window is stored';
        return;
    end if;
    select least(min(h.window_start_time), v_newest, before) into v_stop
    from record_ledger.lane_heads(archivable_records.pipeline_id) as h;
    -- Newest first: only the window that contains before, if there is one, is read in vain.
    select w.window_start_time into last_window_start_time
    from record_ledger.record as w
    where w.pipeline_id = archivable_records.pipeline_id
        and w.window_start_time >= first_window_start_time and w.window_start_time < v_stop
        and w.window_end_time <= before
    order by w.window_start_time desc
    limit 1;
    if last_window_start_time is not null then
        select count(*), max(w.window_start_time) into record_count, last_window_start_time
        from (
            select n.window_start_time
            from record_ledger.record as n
            where n.pipeline_id = archivable_records.pipeline_id
                and n.window_start_time >= first_window_start_time
                and n.window_start_time <= last_window_start_time
            order by n.window_start_time
            limit max_records
        ) as w;
        select w.window_end_time into archived_until
        from record_ledger.record as w
        where w.pipeline_id = archivable_records.pipeline_id
            and w.window_start_time = last_window_start_time;
    end if;

    -- The first record that stays says why.
    select s.* into r
    from record_ledger.record as s
    where s.pipeline_id = archivable_records.pipeline_id
        and s.window_start_time = coalesce(archived_until, first_window_start_time);
    -- A record without a reason of its own stays because of max_records.
    reason := 'window '
        || record_ledger.local_time(
            r.window_start_time,
            record_ledger.stretch_timezone(r.pipeline_id, r.window_start_time)
        )
        || ' stays: '
        || case
            when r.window_end_time > before
                then 'it ends after ' || record_ledger.local_time(before, v_timezone)
            when r.open_pipeline_id is not null then 'it is ' || r.status
            when r.window_start_time = v_newest then 'it is the newest one of the pipeline'
        end;
    if record_count = 0 then
        first_window_start_time := null;
    end if;
end
$$;
comment on function record_ledger.archivable_records(text, timestamptz, integer) is
'What archive_records would move: how many records, their bounds, and the sentence why the next one stays. Reads only.';

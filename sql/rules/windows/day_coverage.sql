-- record_ledger.day_coverage: how the windows of a pipeline cover a local day, the archive included.
-- The day is [its midnight, the next midnight) of the zone in force; windows that cover it may begin and end anywhere.
-- A window is published once a generation of it was completed, also while a later one is being loaded. It is done when
-- it is COMPLETED or WAIVED. Counts of windows are of those that begin in the day; counts of rows are those of
-- published generations.
-- Windows never overlap, so they cover the day when their lengths within it add up to its own.
-- Called by: daily_coverage, is_day_sealed.
-- Uses: archived_records, day_start, pipeline_records.
-- Tests: test_sealed_days.py.
create or replace function record_ledger.day_coverage(
    p record_ledger.pipeline,
    local_date date,
    out day_start_time timestamptz,
    out day_end_time timestamptz,
    out first_window_start_time timestamptz,
    out window_count bigint,
    out published_count bigint,
    out waived_count bigint,
    out lost_count bigint,
    out open_count bigint,
    out covered_seconds numeric,
    out is_published boolean,
    out is_sealed boolean,
    out counts jsonb
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    v_day_seconds numeric;
    v_done_seconds numeric;
    -- The window that begins before the day and ends within it or after it.
    v_across record;
    v_across_seconds numeric;
begin
    day_start_time := record_ledger.day_start(day_coverage.local_date, p.timezone);
    day_end_time := record_ledger.day_start(day_coverage.local_date + 1, p.timezone);
    v_day_seconds := extract(epoch from day_end_time - day_start_time);
    with windows as materialized (
        select
            r.window_start_time,
            extract(
                epoch from least(r.window_end_time, day_coverage.day_end_time) - r.window_start_time
            ) as seconds,
            r.status,
            r.published_generation,
            r.last_event,
            r.last_detail,
            -- The claim that completed the published generation.
            case
                when r.status = 'COMPLETED' then r.claim_token
                when r.published_generation is not null
                    then (
                        select max(e.claim_token)
                        from (
                            select l.claim_token, l.generation, l.event
                            from record_ledger.record_event as l
                            where l.pipeline_id = p.pipeline_id
                                and l.window_start_time = r.window_start_time
                            union all
                            select l.claim_token, l.generation, l.event
                            from record_ledger.archived_record_event as l
                            where l.pipeline_id = p.pipeline_id
                                and l.window_start_time = r.window_start_time
                        ) as e
                        where e.generation = r.published_generation and e.event = 'completed'
                    )
            end as claim_token
        from (
            select
                l.window_start_time,
                l.window_end_time,
                l.status,
                l.published_generation,
                l.last_event,
                l.last_detail,
                l.claim_token
            from record_ledger.pipeline_records as l
            where l.pipeline_id = p.pipeline_id
                and l.window_start_time >= day_coverage.day_start_time
                and l.window_start_time < day_coverage.day_end_time
            union all
            select
                l.window_start_time,
                l.window_end_time,
                l.status,
                l.published_generation,
                l.last_event,
                l.last_detail,
                l.claim_token
            from record_ledger.archived_records as l
            where l.pipeline_id = p.pipeline_id
                and l.window_start_time >= day_coverage.day_start_time
                and l.window_start_time < day_coverage.day_end_time
        ) as r
    ),

    -- The newest count of each stage under that claim, in the ledger or in the archive.
    observed as (
        select distinct on (o.window_start_time, o.stage) o.stage, o.row_count
        from (
            select q.window_start_time, q.stage, q.observation_no, q.row_count, q.claim_token
            from record_ledger.record_observation as q
            where q.pipeline_id = p.pipeline_id
                and q.window_start_time >= day_coverage.day_start_time
                and q.window_start_time < day_coverage.day_end_time
            union all
            select q.window_start_time, q.stage, q.observation_no, q.row_count, q.claim_token
            from record_ledger.archived_record_observation as q
            where q.pipeline_id = p.pipeline_id
                and q.window_start_time >= day_coverage.day_start_time
                and q.window_start_time < day_coverage.day_end_time
        ) as o
        join windows as w
            on w.window_start_time = o.window_start_time and w.claim_token = o.claim_token
        order by o.window_start_time, o.stage, o.observation_no desc
    )

    select
        min(w.window_start_time),
        count(*),
        count(w.published_generation),
        count(*) filter (where w.status = 'WAIVED'),
        count(*) filter (where w.last_event = 'waived' and w.last_detail ->> 'reason' = 'lost'),
        count(*) filter (where w.status not in ('COMPLETED', 'WAIVED')),
        coalesce(
            sum(w.seconds) filter (
                where w.published_generation is not null or w.status = 'WAIVED'
            ),
            0
        ),
        coalesce(sum(w.seconds) filter (where w.status in ('COMPLETED', 'WAIVED')), 0),
        coalesce(
            (
                select jsonb_object_agg(s.stage, s.counted)
                from (
                    select
                        o.stage,
                        jsonb_build_object('rows', sum(o.row_count), 'windows', count(*)) as counted
                    from observed as o
                    group by o.stage
                ) as s
            ),
            '{}'
        )
    into
        first_window_start_time,
        window_count,
        published_count,
        waived_count,
        lost_count,
        open_count,
        covered_seconds,
        v_done_seconds,
        counts
    from windows as w;
    if first_window_start_time > day_start_time or first_window_start_time is null then
        -- After a change of the zone, or of the server's data for it, a window may lie across the midnight.
        select r.window_start_time, r.window_end_time, r.status into v_across
        from record_ledger.record as r
        where r.pipeline_id = p.pipeline_id
            and r.window_start_time < day_coverage.day_start_time
        order by r.window_start_time desc
        limit 1;
        if not found then
            select a.window_start_time, a.window_end_time, a.status into v_across
            from record_ledger.archived_record as a
            where a.pipeline_id = p.pipeline_id
                and a.window_start_time < day_coverage.day_start_time
            order by a.window_start_time desc
            limit 1;
        end if;
        if v_across.window_end_time > day_start_time then
            v_across_seconds := extract(
                epoch from least(v_across.window_end_time, day_end_time) - day_start_time
            );
            if v_across.status in ('COMPLETED', 'WAIVED') then
                v_done_seconds := v_done_seconds + v_across_seconds;
                covered_seconds := covered_seconds + v_across_seconds;
            elsif exists (
                select
                from record_ledger.pipeline_records as l
                where l.pipeline_id = p.pipeline_id
                    and l.window_start_time = v_across.window_start_time
                    and l.published_generation is not null
            ) then
                covered_seconds := covered_seconds + v_across_seconds;
            end if;
        end if;
    end if;
    is_published := covered_seconds = v_day_seconds;
    is_sealed := v_done_seconds = v_day_seconds;
end
$$;
comment on function record_ledger.day_coverage(record_ledger.pipeline, date) is
'How the windows of a pipeline cover a local day, archived ones included.';

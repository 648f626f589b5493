-- record_ledger.lateness: how late the rows of a pipeline's windows came, as recounts have measured it.
-- It returns one row per age: 0 (the count that a window was loaded with), and each of recount_ages. It reads the
-- newest windows whose first generation was counted between becoming stable and the first age, and again at the last
-- age. The newest count of a window is taken for all its rows. For each age it uses the first count at or after that
-- age and before the next one.
-- Called by: pipeline_lateness, suggest_x_time_back.
-- Uses: enough_windows, loaded_count.
-- Tests: test_lateness.py.
create or replace function record_ledger.lateness(p record_ledger.pipeline)
returns table (
    recount_age interval,
    window_count bigint,
    late_window_count bigint,
    row_count numeric,
    min_lateness interval,
    max_lateness interval,
    missed_share numeric,
    worst_missed_share numeric,
    is_last boolean
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
    with newest as (
        select distinct n.window_start_time
        from (
            select o.window_start_time
            from record_ledger.record_observation as o
            where o.pipeline_id = (p).pipeline_id
                and o.changed_by is not null
                and o.generation = 1
            order by o.window_start_time desc
            limit 5000
        ) as n
    ),

    counted as (
        select
            r.window_start_time,
            r.window_end_time,
            l.observed_at as loaded_at,
            case
                when o.observation_no = l.observation_no then l.observed_at
                else o.observed_at
            end as observed_at,
            o.row_count,
            last_value(o.row_count) over every_count as all_rows,
            max(o.observed_at) over (partition by r.window_start_time) as last_observed_at
        from newest as w
        -- The offsets force one look-up per window, independent of the tables' statistics.
        cross join lateral (
            select q.window_start_time, q.window_end_time
            from record_ledger.record as q
            where q.pipeline_id = (p).pipeline_id and q.window_start_time = w.window_start_time
            offset 0
        ) as r
        cross join lateral record_ledger.loaded_count(
            (p).pipeline_id, r.window_start_time, 1
        ) as l
        cross join lateral (
            select q.observation_no, q.observed_at, q.row_count
            from record_ledger.record_observation as q
            where q.pipeline_id = (p).pipeline_id
                and q.window_start_time = r.window_start_time
                and q.generation = 1
                and q.stage = 'source'
                and (q.changed_by is not null or q.observation_no = l.observation_no)
            offset 0
        ) as o
        where l.observed_at >= r.window_end_time + (p).x_time_back
            and l.observed_at < r.window_end_time + ((p).x_time_back + (p).recount_ages[1])
        window every_count as (
            partition by r.window_start_time
            order by o.observation_no
            rows between unbounded preceding and unbounded following
        )
    ),

    ages as (
        select
            a.age,
            lead(a.age) over (order by a.age) as next_age
        from unnest(interval '0' || (p).recount_ages) as a (age)
    ),

    at_ages as (
        select distinct on (a.age, c.window_start_time)
            a.age,
            extract(epoch from c.observed_at - c.window_end_time) as lateness,
            c.all_rows,
            greatest(c.all_rows - c.row_count, 0) as missed_rows
        from counted as c
        join ages as a
            on c.observed_at >= c.loaded_at + a.age
                and (a.next_age is null or c.observed_at < c.loaded_at + a.next_age)
        where c.last_observed_at >= c.loaded_at + (p).recount_ages[cardinality((p).recount_ages)]
        order by a.age, c.window_start_time, c.observed_at
    )

    select
        a.age,
        count(c.age),
        count(c.age) filter (where c.missed_rows > 0),
        coalesce(sum(c.all_rows), 0),
        min(c.lateness) * interval '1 second',
        max(c.lateness) * interval '1 second',
        case
            when count(c.age) >= record_ledger.enough_windows()
                then coalesce(sum(c.missed_rows) / nullif(sum(c.all_rows), 0), 0)
        end,
        case
            when count(c.age) >= record_ledger.enough_windows()
                then coalesce(max(c.missed_rows / nullif(c.all_rows, 0)::numeric), 0)
        end,
        a.next_age is null
    from ages as a
    left join at_ages as c on c.age = a.age
    group by a.age, a.next_age
    order by a.age
$$;
comment on function record_ledger.lateness(record_ledger.pipeline) is
'How late the rows of a pipeline''s windows came, one row per recount age; shares are null when computed from fewer than 20 windows.';

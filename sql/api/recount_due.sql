-- record_ledger.recount_due: which windows of a pipeline should have their source counted again, longest due first.
-- A completed record is due at each age of recount_ages since the count that its generation stands on. It stays due
-- until a count of its source is recorded at that age or later. Several missed ages need one count. A record is not due
-- when its source data is gone, or when twice the last age has passed. A retired pipeline has none.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: clock, is_lost, loaded_count, raise_unknown_pipeline.
-- Tests: test_recounts.py, test_recount_plans.py.
create or replace function record_ledger.recount_due(pipeline_id text)
returns table (
    window_start_time timestamptz,
    window_end_time timestamptz,
    target_day date,
    generation integer,
    -- The count that the generation stands on, and when it was recorded.
    loaded_count bigint,
    counted_at timestamptz,
    -- The newest age that has been reached, and when it was.
    recount_age interval,
    due_at timestamptz
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
    v_now constant timestamptz := record_ledger.clock();
    p record_ledger.pipeline;
begin
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = recount_due.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(recount_due.pipeline_id);
    end if;
    return query
    select
        r.window_start_time,
        r.window_end_time,
        r.target_day,
        r.generation,
        l.row_count,
        l.observed_at,
        a.age,
        l.observed_at + a.age
    from record_ledger.record_observation as o
    join record_ledger.record as r
        on r.pipeline_id = o.pipeline_id and r.window_start_time = o.window_start_time
    cross join lateral record_ledger.loaded_count(
        r.pipeline_id, r.window_start_time, r.generation
    ) as l
    cross join lateral (
        select max(s.age) as age
        from unnest(p.recount_ages) as s (age)
        where l.observed_at + s.age <= v_now
    ) as a
    where o.pipeline_id = p.pipeline_id
        and o.stage = 'source'
        and o.changed_by is null
        and not p.is_retired
        -- An adopted observation is younger than the count that it takes over.
        and o.observed_at > v_now - 2 * p.recount_ages[cardinality(p.recount_ages)]
        and (o.observed_at <= v_now - p.recount_ages[1] or o.adopted_no is not null)
        and l.observed_at > v_now - 2 * p.recount_ages[cardinality(p.recount_ages)]
        and r.status = 'COMPLETED'
        -- Each record once, by the count that it stands on.
        and o.observation_no = l.observation_no
        and a.age is not null
        and not record_ledger.is_lost(r.window_end_time, p.source_retention, v_now)
        and not exists (
            select
            from record_ledger.record_observation as n
            where n.pipeline_id = r.pipeline_id
                and n.window_start_time = r.window_start_time
                and n.generation = r.generation
                and n.changed_by is not null
                and n.observed_at >= l.observed_at + a.age
        )
    order by 8, 1;
end
$$;
comment on function record_ledger.recount_due(text) is
'The completed windows of a pipeline whose source should be counted again by now, longest due first.';

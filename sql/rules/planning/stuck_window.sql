-- record_ledger.stuck_window: the oldest open record that no run will ever finish, from a window's start onwards.
-- It is failed, or incomplete and not outdated, or outdated where default_record leaves check_fields empty, or a claim
-- that will end so. Null when there is none.
-- Called by: planned_passes.
-- Uses: stuck_heads.
-- Tests: test_plan_agrees.py.
create or replace function record_ledger.stuck_window(
    p record_ledger.pipeline,
    from_time timestamptz,
    stuck_claims timestamptz[],
    out window_start_time timestamptz,
    out window_end_time timestamptz
)
language plpgsql
stable
as $$
#variable_conflict use_column
begin
    select min(s.window_start_time) into stuck_window.window_start_time
    from (
        select h.window_start_time
        from record_ledger.stuck_heads(p.pipeline_id, stuck_window.from_time) as h
        where h.lane = 'failed'
            or p.missing_fields is not null
            or h.lane >= 'incomplete' || lpad(p.fields_version::text, 10, '0')
        union all
        (
            select o.window_start_time
            from record_ledger.record as o
            where p.missing_fields is not null
                and o.open_pipeline_id = p.pipeline_id
                and o.lane in ('historical', 'retry', 'retryh', 'returned', 'waiting')
                and o.window_start_time >= coalesce(stuck_window.from_time, '-infinity')
                and coalesce(o.config_version < p.fields_version, true)
            order by o.window_start_time
            limit 1
        )
        union all
        select c.window_start_time
        from unnest(stuck_window.stuck_claims) as c (window_start_time)
        where c.window_start_time >= coalesce(stuck_window.from_time, '-infinity')
    ) as s;
    select r.window_end_time into stuck_window.window_end_time
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id and r.window_start_time = stuck_window.window_start_time;
end
$$;
comment on function record_ledger.stuck_window(
    record_ledger.pipeline, timestamptz, timestamptz[]
) is
'Private. The oldest open record, from an instant onwards, that no run will ever finish.';

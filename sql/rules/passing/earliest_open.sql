-- record_ledger.earliest_open: the oldest open record of a pipeline, which holds up all later ones (depends_on_past).
-- Lost records hold up nothing, because the next pass waives them. A record in progress holds up others while its lease
-- runs.
-- Called by: next_answer.
-- Uses: stuck_heads.
-- Tests: test_order.py.
create or replace function record_ledger.earliest_open(
    p record_ledger.pipeline,
    -- The oldest record that is pending and complete, of those that are not lost.
    oldest_pending timestamptz,
    first_active timestamptz,
    lost_before timestamptz,
    as_of timestamptz
)
returns timestamptz
language sql
stable
as $$
    select least(
        oldest_pending,
        (
            select min(h.window_start_time)
            from record_ledger.stuck_heads((p).pipeline_id, earliest_open.lost_before) as h
        ),
        case
            when earliest_open.lost_before is null then earliest_open.first_active
            else (
                select min(a.window_start_time)
                from record_ledger.record as a
                where a.open_pipeline_id = (p).pipeline_id and a.lane = 'active'
                    and a.window_start_time >= earliest_open.first_active
                    and (
                        a.lease_expires_at > earliest_open.as_of
                        or a.window_start_time >= earliest_open.lost_before
                    )
            )
        end
    )
$$;
comment on function record_ledger.earliest_open(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz, timestamptz
) is
'Private. The oldest open record of a pipeline that is not lost.';

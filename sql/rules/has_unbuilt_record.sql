-- record_ledger.has_unbuilt_record: does a stable record of the pipeline wait to be built?
-- Lane 'unbuilt' is in window order, so its oldest record answers for all.
-- Read by: store_new_and_pass_valid_record.
-- Rules: is_stable.
create or replace function record_ledger.has_unbuilt_record(p record_ledger.pipeline, as_of timestamptz)
returns boolean
language plpgsql
stable
as $$
begin
    return coalesce(
        (
            select record_ledger.is_stable(r.window_end_time, p.x_time_back, as_of)
            from record_ledger.record as r
            where r.pipeline_id = p.pipeline_id and r.lane = 'unbuilt'
            order by r.window_start_time
            limit 1
        ),
        false
    );
end
$$;
comment on function record_ledger.has_unbuilt_record(record_ledger.pipeline, timestamptz) is
'Private. Whether a stable record of the pipeline waits to be built.';

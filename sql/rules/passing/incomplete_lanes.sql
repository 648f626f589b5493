-- record_ledger.incomplete_lanes: the lanes of a pipeline's incomplete records, one for each config that built some.
-- One look-up in the index finds each, however many records it holds; most pipelines have none. lane defines the names.
-- Called by: next_answer, next_candidate, planned_passes, stuck_heads, waive_lost_records, windows_to_build.
-- Uses: none.
-- Tests: test_building.py, test_lane_growth.py.
create or replace function record_ledger.incomplete_lanes(
    pipeline_id text,
    -- Only those of records that are outdated at this fields_version; null for all.
    fields_version integer default null
)
returns setof text
language plpgsql
stable
as $$
declare
    v_end constant text := 'incomplete' || coalesce(lpad(fields_version::text, 10, '0'), 'i');
    v_lane text := 'incomplete';
begin
    loop
        v_lane := (
            select r.lane
            from record_ledger.record as r
            where r.open_pipeline_id = incomplete_lanes.pipeline_id
                and r.lane > v_lane and r.lane < v_end
            order by r.lane
            limit 1
        );
        exit when v_lane is null;
        return next v_lane;
    end loop;
end
$$;
comment on function record_ledger.incomplete_lanes(text, integer) is
'Private. The lanes of a pipeline''s incomplete records, one for each config that they were built with.';

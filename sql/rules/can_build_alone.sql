-- record_ledger.can_build_alone: does a stable record wait to be built from a config that needs no rendering?
-- Only a changed config leaves such records: callers ask when config_version > 1. The oldest one answers for all.
-- Read by: store_new_and_pass_valid_record.
-- Rules: is_stable, is_lost.
create or replace function record_ledger.can_build_alone(
    p record_ledger.pipeline, as_of timestamptz
)
returns boolean
language plpgsql
stable
as $$
begin
    return not p.has_templates and coalesce(
        (
            select record_ledger.is_stable(r.window_end_time, p.x_time_back, as_of)
            from record_ledger.record as r
            where r.open_pipeline_id = p.pipeline_id and r.lane = 'unbuilt'
                and not record_ledger.is_lost(r.window_end_time, p.source_retention, as_of)
            order by r.window_start_time
            limit 1
        ),
        false
    );
end
$$;
comment on function record_ledger.can_build_alone(record_ledger.pipeline, timestamptz) is
'Private. Whether a stable record of the pipeline waits to be built from a config without templates.';

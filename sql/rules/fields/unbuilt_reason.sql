-- record_ledger.unbuilt_reason: why the next record of a pipeline with templates cannot be passed without its config.
-- The runner renders templates: SQL alone cannot build the record.
-- Called by: pass_record, pass_valid_record.
-- Uses: local_time.
-- Tests: test_rebuilding.py.
create or replace function record_ledger.unbuilt_reason(
    p record_ledger.pipeline, window_start_time timestamptz
)
returns text
language sql
stable
as $$
    select format(
        'window %s %s; the next run with its config builds it',
        record_ledger.local_time(r.window_start_time, (p).timezone),
        case
            when r.config_version is null then 'is not built yet'
            else 'was built with an older config'
        end
    )
    from record_ledger.record as r
    where r.pipeline_id = (p).pipeline_id
        and r.window_start_time = unbuilt_reason.window_start_time
$$;
comment on function record_ledger.unbuilt_reason(record_ledger.pipeline, timestamptz) is
'Private. Why the next record of a pipeline with templates cannot be passed without its config.';

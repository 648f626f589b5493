-- record_ledger.raise_no_record: the one error for a window that the ledger holds no record of.
-- Raises RL005, for one that was archived as well; RL002 for an unknown pipeline.
-- Called by: lock_record.
-- Uses: local_time, raise_unknown_pipeline.
-- Tests: test_observations.py.
create or replace function record_ledger.raise_no_record(
    pipeline_id text, window_start_time timestamptz
)
returns void
language plpgsql
as $$
#variable_conflict use_column
declare
    v_timezone text;
    v_holder timestamptz;
begin
    select p.timezone into v_timezone
    from record_ledger.pipeline as p
    where p.pipeline_id = raise_no_record.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(raise_no_record.pipeline_id);
    end if;
    if exists (
        select
        from record_ledger.archived_record as a
        where a.pipeline_id = raise_no_record.pipeline_id
            and a.window_start_time = raise_no_record.window_start_time
    ) then
        raise exception 'window_start_time: the record % of pipeline % is archived',
            record_ledger.local_time(raise_no_record.window_start_time, v_timezone),
            raise_no_record.pipeline_id
            using errcode = 'RL005', hint = 'Nothing is added to a record in the archive.';
    end if;
    select max(r.window_start_time) into v_holder
    from record_ledger.record as r
    where r.pipeline_id = raise_no_record.pipeline_id
        and r.window_start_time < raise_no_record.window_start_time
        and r.window_end_time > raise_no_record.window_start_time;
    raise exception 'window_start_time: pipeline % has no window that starts at %',
        raise_no_record.pipeline_id,
        case
            when isfinite(raise_no_record.window_start_time)
                then record_ledger.local_time(raise_no_record.window_start_time, v_timezone)
            else coalesce(raise_no_record.window_start_time::text, 'null')
        end
        using errcode = 'RL005',
        hint = coalesce(
            'The window that holds it starts at '
                || record_ledger.local_time(v_holder, v_timezone) || '.',
            'Give the start of a stored window: the view pipeline_records has them.'
        );
end
$$;
comment on function record_ledger.raise_no_record(text, timestamptz) is
'Private. Raises RL005 for a window that the ledger holds no record of.';

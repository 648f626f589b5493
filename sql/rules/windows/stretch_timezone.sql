-- record_ledger.stretch_timezone: the time zone of the stretch of windows that an instant of a pipeline lies in.
-- Before the first stretch it is the zone of the first one; without a stored window, the zone in force.
-- pipeline_records and archived_records have this look-up as a subquery, which costs a row a fraction of a call.
-- Called by: the Python runner, archivable_records, check_counts, window_timezone.
-- Uses: none.
-- Tests: test_zones.py.
create or replace function record_ledger.stretch_timezone(
    pipeline_id text, window_start_time timestamptz
)
returns text
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return coalesce(
        (
            select z.timezone
            from record_ledger.pipeline_zone as z
            where z.pipeline_id = stretch_timezone.pipeline_id
                and z.from_time <= stretch_timezone.window_start_time
            order by z.from_time desc
            limit 1
        ),
        (
            select z.timezone
            from record_ledger.pipeline_zone as z
            where z.pipeline_id = stretch_timezone.pipeline_id
            order by z.from_time
            limit 1
        ),
        (
            select p.timezone
            from record_ledger.pipeline as p
            where p.pipeline_id = stretch_timezone.pipeline_id
        )
    );
end
$$;
comment on function record_ledger.stretch_timezone(text, timestamptz) is
'The time zone of the stretch of windows that an instant of a pipeline lies in.';

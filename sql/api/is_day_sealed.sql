-- record_ledger.is_day_sealed: do windows that are done cover a local day of a pipeline without a gap?
-- The day is [its midnight, the next midnight) of the zone in force. The windows may have been cut with any zone, and
-- may begin and end anywhere. A day that is being loaded again stays published, and is sealed again when that is done.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: day_coverage, raise_unknown_pipeline.
-- Tests: test_sealed_days.py.
create or replace function record_ledger.is_day_sealed(pipeline_id text, local_date date)
returns boolean
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    p record_ledger.pipeline;
begin
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = is_day_sealed.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(is_day_sealed.pipeline_id);
    end if;
    -- PostgreSQL does not know every midnight beyond these days.
    if is_day_sealed.local_date between date '0001-01-01' and date '9999-12-31' is not true then
        raise exception 'local_date: % is not a valid day; give one such as 2026-11-22',
            coalesce(is_day_sealed.local_date::text, 'null')
            using errcode = 'RL005';
    end if;
    return (record_ledger.day_coverage(p, is_day_sealed.local_date)).is_sealed;
end
$$;
comment on function record_ledger.is_day_sealed(text, date) is
'Whether completed or waived windows cover a local day of a pipeline from its first to its last instant, archived ones included.';

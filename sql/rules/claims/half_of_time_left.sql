-- record_ledger.half_of_time_left: half of the time, in whole seconds, for which a window's source data is still there.
-- No record waits longer, so a wait never loses a record. Null without a source_retention. Types are exact and names
-- qualified (docs/design.md, Names).
-- Called by: postponement, retry_time.
-- Uses: none.
-- Tests: test_retention.py, test_postponing.py.
create or replace function record_ledger.half_of_time_left(
    window_end_time timestamptz, p record_ledger.pipeline, as_of timestamptz
)
returns numeric
language sql
-- Not immutable, though elapsed time is: adding to an instant counts as stable, and only then is the call inlined.
stable
as $$
    select case
        when (p).source_retention is not null then greatest(
            pg_catalog.floor(
                extract(epoch from window_end_time + (p).source_retention - as_of) / 2::numeric
            ),
            0
        )
    end
$$;
comment on function record_ledger.half_of_time_left(
    timestamptz, record_ledger.pipeline, timestamptz
) is
'Half of the seconds for which a window''s source data is still there; null without a source_retention.';

-- record_ledger.range_in_steps: waives, reopens, expires, cancels or backfills records in steps, each committed.
-- It is for operators in psql, and for ranges of many records: the pipeline's runs get their turn between two steps. An
-- interrupted call leaves a valid ledger; the next call does the rest. changed_count says how many records changed. A
-- notice reports the progress every ten seconds. The procedure commits, so a transaction block cannot call it.
-- Called by: record_ledger_runner.
-- Uses: range_step.
-- Tests: test_range_steps.py.
create or replace procedure record_ledger.range_in_steps(
    operation text,
    pipeline_id text,
    from_time timestamptz,
    to_time timestamptz,
    reason text,
    inout changed_count bigint default 0
)
-- It runs with its caller's rights and path, or it could not commit: so every name in it is qualified.
language plpgsql
as $$
declare
    v_from_time pg_catalog.timestamptz := from_time;
    v_max_records integer := 1000;
    v_said_at pg_catalog.timestamptz := pg_catalog.clock_timestamp();
    v_changed bigint;
begin
    changed_count := 0;
    loop
        select s.changed_count, s.go_on_from, s.next_max_records
        into v_changed, v_from_time, v_max_records
        from record_ledger.range_step(
            operation, pipeline_id, v_from_time, to_time, reason, v_max_records
        ) as s;
        commit;
        changed_count := changed_count operator(pg_catalog.+) v_changed;
        exit when v_from_time is null;
        if pg_catalog.clock_timestamp()
            operator(pg_catalog.-) v_said_at
            operator(pg_catalog.>) interval '10 seconds'
        then
            v_said_at := pg_catalog.clock_timestamp();
            raise notice '% records changed so far', changed_count;
        end if;
    end loop;
end
$$;
comment on procedure record_ledger.range_in_steps(
    text, text, timestamptz, timestamptz, text, bigint
) is
'Waives, reopens, expires, cancels or backfills the records of a range in steps, each a transaction of its own; changed_count says how many changed.';

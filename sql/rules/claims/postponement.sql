-- record_ledger.postponement: until when a released record waits, and for which run; null when it does not wait.
-- A time in the past holds up no run. A time after half of the time that the source data has left is moved forward to
-- that. The time that the run asked for is kept beside it.
-- Called by: end_claim.
-- Uses: half_of_time_left, local_time.
-- Tests: test_postponing.py.
create or replace function record_ledger.postponement(
    run_id text,
    window_end_time timestamptz,
    p record_ledger.pipeline,
    asked timestamptz,
    as_of timestamptz
)
returns jsonb
language plpgsql
stable
as $$
declare
    v_until constant timestamptz := least(
        asked,
        as_of + interval '1 second' * record_ledger.half_of_time_left(window_end_time, p, as_of)
    );
begin
    if v_until <= as_of then
        return null;
    end if;
    return jsonb_strip_nulls(jsonb_build_object(
        'not_before', record_ledger.local_time(v_until, p.timezone),
        'asked_not_before', case
            when v_until < asked then record_ledger.local_time(asked, p.timezone)
        end,
        'released_by', session_user,
        'run_id', run_id
    ));
end
$$;
comment on function record_ledger.postponement(
    text, timestamptz, record_ledger.pipeline, timestamptz, timestamptz
) is
'Private. Until when a record that is given back with not_before waits, and who gave it back; null when it does not wait.';

-- record_ledger.local_instant: the first instant at which a zone's clocks show a local time or a later one.
-- For a local time that happens twice it is the first of both; for one that clocks skip, the end of the gap. Types are
-- exact (docs/design.md, Names).
-- Called by: day_start, local_instants, start_instant, window_time.
-- Uses: none.
-- Tests: test_days.py.
create or replace function record_ledger.local_instant(local_time timestamp, timezone text)
returns timestamptz
language plpgsql
immutable strict
as $$
declare
    v_instant timestamptz := local_time at time zone local_instant.timezone;
    v_before timestamptz := v_instant - interval '12 hours';
    -- The same local time, computed with the offset that was in force half a day earlier.
    v_first timestamptz := (
        local_time - (
            (v_before at time zone local_instant.timezone) - (v_before at time zone 'UTC')
        )
    ) at time zone 'UTC';
    v_not_yet timestamptz;
    v_middle timestamptz;
begin
    -- PostgreSQL reads a local time that happens twice as the second of both.
    if v_first at time zone local_instant.timezone = local_time then
        return v_first;
    end if;
    if v_instant at time zone local_instant.timezone = local_time then
        return v_instant;
    end if;
    -- Clocks skip the local time, and v_first is at or after the end of the gap; usually exactly at its end.
    if (v_first - interval '1 microsecond') at time zone local_instant.timezone < local_time then
        return v_first;
    end if;
    v_not_yet := v_first - interval '26 hours';
    while v_first - v_not_yet > interval '1 microsecond' loop
        v_middle := v_not_yet + (v_first - v_not_yet) / 2::double precision;
        if v_middle at time zone local_instant.timezone >= local_time then
            v_first := v_middle;
        else
            v_not_yet := v_middle;
        end if;
    end loop;
    return v_first;
end
$$;
comment on function record_ledger.local_instant(timestamp, text) is
'The first instant at which the zone''s clocks show the local time or a later one.';

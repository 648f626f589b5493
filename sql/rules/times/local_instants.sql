-- record_ledger.local_instants: the instants at which a zone's clocks show exactly a local time.
-- Usually one; none where clocks skip the time; two, the earlier one first, where they show it twice.
-- Called by: twofold_time, window_time.
-- Uses: local_instant.
-- Tests: test_zones.py.
create or replace function record_ledger.local_instants(local_time timestamp, timezone text)
returns timestamptz[]
language plpgsql
immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    v_first constant timestamptz := record_ledger.local_instant(
        local_time, local_instants.timezone
    );
    -- PostgreSQL reads a local time that happens twice as the second of both.
    v_second constant timestamptz := local_time at time zone local_instants.timezone;
begin
    if v_first at time zone local_instants.timezone <> local_time then
        return '{}';
    elsif v_second > v_first then
        return array[v_first, v_second];
    end if;
    return array[v_first];
end
$$;
comment on function record_ledger.local_instants(timestamp, text) is
'The instants at which the zone''s clocks show a local time: none, one or two.';

-- record_ledger.twofold_time: a sentence about a text whose local time comes twice in a zone; null for any other text.
-- Clocks that are set back show an hour again: a text in that hour does not name one instant. A bare date does: it is
-- its first one.
-- Called by: config_problems, pipeline_time.
-- Uses: local_instants, local_time, wall_time.
-- Tests: test_zones.py.
create or replace function record_ledger.twofold_time(time_text text, timezone text)
returns text
language plpgsql
stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    v_instants timestamptz[];
begin
    if length(time_text) > length('2026-01-01') then
        v_instants := record_ledger.local_instants(
            record_ledger.wall_time(time_text), twofold_time.timezone
        );
    end if;
    if cardinality(v_instants) > 1 then
        return format(
            '"%s" comes twice in %s: as %s and %s',
            time_text,
            twofold_time.timezone,
            record_ledger.local_time(v_instants[1], twofold_time.timezone),
            record_ledger.local_time(v_instants[2], twofold_time.timezone)
        );
    end if;
    return null;
end
$$;
comment on function record_ledger.twofold_time(text, text) is
'Why a local time names two instants of a zone, both with their offsets; null when it does not.';

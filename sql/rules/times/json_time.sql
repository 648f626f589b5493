-- record_ledger.json_time: an instant as JSON holds it, ISO 8601 with the offset of a zone.
-- A null zone means that of the session, for functions that have set a pipeline's: this is many times faster.
-- Called by: windows_to_build.
-- Uses: local_time.
-- Tests: test_record_shape.py, test_building.py.
create or replace function record_ledger.json_time(instant timestamptz, timezone text)
returns jsonb
language sql
stable
as $$
    select case
        when timezone is null then to_jsonb(instant)
        else to_jsonb(record_ledger.local_time(instant, timezone))
    end
$$;
comment on function record_ledger.json_time(timestamptz, text) is
'Private. An instant as JSON: ISO 8601 with the offset of a zone, or of the session''s where the zone is null.';

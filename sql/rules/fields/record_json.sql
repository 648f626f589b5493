-- record_ledger.record_json: a record as callers get it, flat: its fields and the ledger's columns.
-- Times are ISO 8601 with the offset that the server computes for the pipeline's zone.
-- Called by: oldest_pending_record, pass_record.
-- Uses: record_object.
-- Tests: test_record_shape.py.
create or replace function record_ledger.record_json(r record_ledger.record, timezone text)
returns jsonb
language plpgsql
stable
-- Ends the effect of set_config below with this function: a caller's session keeps its time zone.
set timezone = 'UTC'
as $$
declare
    -- to_jsonb then writes every instant with this zone's offset, many times faster than format functions.
    v_timezone text := pg_catalog.set_config('timezone', record_json.timezone, true);
begin
    return record_ledger.record_object(r);
end
$$;
comment on function record_ledger.record_json(record_ledger.record, text) is
'A record flat as JSON: its fields and the ledger''s columns, times in the pipeline''s zone.';

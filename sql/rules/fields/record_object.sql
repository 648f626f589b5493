-- record_ledger.record_object: a record as callers get it, flat: its fields and the ledger's columns.
-- Times are ISO 8601 with the offset of the time zone in force, which the caller has set to the pipeline's. PostgreSQL
-- merges this expression into the statement around it. Names are qualified (docs/design.md, Names).
-- Called by: record_json, store_new_and_pass_valid_record.
-- Uses: time_interval.
-- Tests: test_record_shape.py.
create or replace function record_ledger.record_object(r record_ledger.record)
returns jsonb
language sql
stable
as $$
    select (r).fields || pg_catalog.jsonb_build_object(
        'pipeline_id', (r).pipeline_id,
        'target_day', (r).target_day,
        'window_start_time', (r).window_start_time,
        'window_end_time', (r).window_end_time,
        'time_interval', record_ledger.time_interval(
            (r).window_start_time, (r).window_end_time
        ),
        'status', (r).status,
        'generation', (r).generation,
        'attempt', (r).attempt,
        'claim_token', (r).claim_token,
        'run_id', (r).run_id,
        'lease_expires_at', (r).lease_expires_at,
        'created_at', (r).created_at,
        'updated_at', (r).updated_at
    )
$$;
comment on function record_ledger.record_object(record_ledger.record) is
'Private. A record flat as JSON: its fields and the ledger''s columns, times in the time zone in force.';

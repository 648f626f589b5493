-- record_ledger.ledger_columns: the names in a record that belong to the ledger.
-- A config's default_record may use none of them but pipeline_id.
-- Called by: config_problems, missing_fields.
-- Uses: none.
-- Tests: test_config_rules.py, test_record_shape.py.
create or replace function record_ledger.ledger_columns()
returns text[]
language sql
immutable
as $$
    select array[
        'pipeline_id',
        'target_day',
        'window_start_time',
        'window_end_time',
        'time_interval',
        'status',
        'generation',
        'attempt',
        'claim_token',
        'run_id',
        'lease_expires_at',
        'retry_at',
        'fields',
        'missing_fields',
        'config_version',
        'last_event',
        'last_detail',
        'published_generation',
        'counts_waived',
        'window_timezone',
        'is_outdated',
        'created_at',
        'updated_at'
    ]
$$;
comment on function record_ledger.ledger_columns() is
'The names in a record that belong to the ledger and that default_record may not use (but pipeline_id).';

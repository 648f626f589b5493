-- record_ledger.config_keys: the keys of a config that the ledger reads.
-- All other keys are ignored and never stored: a team's config holds much else, passwords included.
-- Called by: is_same_config, known_config, warn_of_misspelt_keys.
-- Uses: none.
-- Tests: test_config_rules.py.
create or replace function record_ledger.config_keys()
returns text[]
language sql
immutable
as $$
    select array[
        'pipeline_id',
        'timezone',
        'x_time_back',
        'granularity',
        'default_record',
        'check_fields',
        'start_at',
        'max_active_records',
        'depends_on_past',
        'lease',
        'max_attempts',
        'retry_delay',
        'backfill_share',
        'required_counts',
        'source_retention',
        'at_risk_within',
        'pass_order',
        'recount_ages',
        'reopen_budget'
    ]
$$;
comment on function record_ledger.config_keys() is
'The keys of a config that the ledger reads; all others are ignored and not stored.';

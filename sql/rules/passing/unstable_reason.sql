-- record_ledger.unstable_reason: the sentence for a window whose data has not settled, in the time zone in force.
-- The caller has set it to that of the window. PostgreSQL takes this expression into the one around it.
-- Names are qualified (docs/design.md, Names).
-- Called by: record_verdict, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_verdicts.py.
create or replace function record_ledger.unstable_reason(
    window_start_time timestamptz,
    window_end_time timestamptz,
    x_time_back interval,
    -- As the config says it.
    x_time_back_text text
)
returns text
language sql
stable
as $$
    -- Instants as iso_time writes them; one function takes all their quotation marks away.
    select pg_catalog.replace(
        pg_catalog.concat(
            'window ', pg_catalog.to_json(window_start_time),
            ' ends at ', pg_catalog.to_json(window_end_time),
            '; its data has settled ', x_time_back_text,
            ' later, at ', pg_catalog.to_json(window_end_time + x_time_back)
        ),
        '"',
        ''
    )
$$;
comment on function record_ledger.unstable_reason(
    timestamptz, timestamptz, interval, text
) is
'Private. The sentence for a window whose data has not settled.';

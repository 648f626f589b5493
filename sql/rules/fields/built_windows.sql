-- record_ledger.built_windows: the entries of built that were rendered with the config in force, one per window.
-- An entry of another config_version is left out: its fields belong to another config, even if they have the same
-- names. built_problem has checked the array before.
-- Called by: build_records, pass_record, store_windows.
-- Uses: none.
-- Tests: test_building.py.
create or replace function record_ledger.built_windows(built jsonb, p record_ledger.pipeline)
returns table (window_start_time timestamptz, window_end_time timestamptz, fields jsonb)
language sql
stable
as $$
    select distinct on (1, 2)
        (e.element ->> 'window_start_time')::timestamptz as window_start_time,
        (e.element ->> 'window_end_time')::timestamptz as window_end_time,
        e.element -> 'fields' as fields
    from jsonb_array_elements(built) as e (element)
    where (e.element -> 'config_version') = to_jsonb((p).config_version)
$$;
comment on function record_ledger.built_windows(jsonb, record_ledger.pipeline) is
'Private. The entries of built that were rendered with the config in force, one per window.';

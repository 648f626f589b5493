-- record_ledger.count_tolerance: by how many rows a count may be off, as a config's tolerance says.
-- '5 rows' allows 5 for any count; '0.1%' allows that share of the compared count. Null when the text is not a
-- tolerance. Units are required, and 100% is the maximum. Types are exact (docs/design.md, Names).
-- Called by: dbt, changed_records, counts_problem, is_same_counts, required_counts_problems.
-- Uses: none.
-- Tests: test_required_counts.py.
create or replace function record_ledger.count_tolerance(tolerance text, row_count bigint)
returns numeric
language sql
immutable strict
as $$
    select case
        -- Sentences quote it as it is written, blanks included.
        when octet_length(tolerance) > 255 then null
        when tolerance ~ '^[[:space:]]*[0-9]{1,18}[[:space:]]*rows?[[:space:]]*$'
            then substring(tolerance from '[0-9]+')::numeric
        when tolerance ~ '^[[:space:]]*[0-9]{1,3}([.][0-9]{1,9})?[[:space:]]*%[[:space:]]*$'
            and substring(tolerance from '[0-9.]+')::numeric <= 100::numeric
            then substring(tolerance from '[0-9.]+')::numeric
                * row_count::numeric / 100::numeric
    end
$$;
comment on function record_ledger.count_tolerance(text, bigint) is
'How many rows a tolerance such as "5 rows" or "0.1%" allows a count to be off; null when the text is not a tolerance.';

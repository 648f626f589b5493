-- record_ledger.near_names: the candidates that a misspelt name may have meant, nearest first, at most three.
-- A name is near when it differs by few letters, or only in case, spaces, hyphens and underscores, or in its last part.
-- Called by: dbt, config_problems, raise_unknown_pipeline, required_counts_problems, warn_of_misspelt_keys.
-- Uses: edit_distance.
-- Tests: test_config_rules.py, test_bounds.py.
create or replace function record_ledger.near_names(name text, candidates text[])
returns text[]
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    select array(
        select c.candidate
        from (
            select
                candidate,
                translate(lower(candidate), ' -_', '') as plain,
                translate(lower(near_names.name), ' -_', '') as plain_name
            from unnest(candidates[1:1000]) as candidate
            -- A longer name is not a misspelt one.
            where octet_length(near_names.name) <= 255
        ) as c
        cross join lateral (
            select
                case
                    when c.plain = c.plain_name then 0
                    when split_part(c.plain, '/', -1) = split_part(c.plain_name, '/', -1) then 1
                    -- The distance is slow to compute: skip names of another length, or with both ends different.
                    when abs(length(c.plain) - length(c.plain_name)) <= 3
                        and length(c.plain_name) <= 64
                        and (
                            left(c.plain, 1) = left(c.plain_name, 1)
                            or right(c.plain, 1) = right(c.plain_name, 1)
                        )
                        then record_ledger.edit_distance(c.plain, c.plain_name)
                end as distance
        ) as d
        where d.distance <= least(3, greatest(1, length(c.plain_name) / 3))
        order by d.distance, c.candidate
        limit 3
    )
$$;
comment on function record_ledger.near_names(text, text[]) is
'Up to three candidates that a misspelt name may have meant, nearest first.';

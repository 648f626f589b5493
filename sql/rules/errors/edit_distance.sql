-- record_ledger.edit_distance: how many letters two words differ by, case ignored.
-- Insertions, deletions, substitutions and swaps of neighbours count 1 each (optimal string alignment).
-- Called by: near_names.
-- Uses: none.
-- Tests: test_config_rules.py.
create or replace function record_ledger.edit_distance(left_word text, right_word text)
returns integer
language plpgsql
immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    v_left constant text[] := string_to_array(lower(left_word), null);
    v_right constant text[] := string_to_array(lower(right_word), null);
    v_width constant integer := coalesce(cardinality(v_right), 0);
    v_above integer[];
    v_row integer[] := array(select generate_series(0, v_width));
    v_two_above integer[];
begin
    for i in 1 .. coalesce(cardinality(v_left), 0) loop
        v_two_above := v_above;
        v_above := v_row;
        v_row := array[i];
        for j in 1 .. v_width loop
            v_row[j + 1] := least(
                v_above[j + 1] + 1,
                v_row[j] + 1,
                v_above[j] + (v_left[i] <> v_right[j])::integer,
                case
                    when i > 1 and j > 1
                        and v_left[i] = v_right[j - 1] and v_left[i - 1] = v_right[j]
                        then v_two_above[j - 1] + 1
                end
            );
        end loop;
    end loop;
    return v_row[v_width + 1];
end
$$;
comment on function record_ledger.edit_distance(text, text) is
'How many letters two words differ by, case ignored.';

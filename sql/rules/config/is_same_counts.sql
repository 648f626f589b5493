-- record_ledger.is_same_counts: do required_counts mean the ones in force?
-- A list of stages is short for an object. "5 rows" and "5rows" are the same tolerance, and so are "0.1%" and "0.10%".
-- Called by: is_same_config.
-- Uses: count_tolerance.
-- Tests: test_same_config.py.
create or replace function record_ledger.is_same_counts(given jsonb, in_force jsonb)
returns boolean
language plpgsql
immutable
as $$
declare
    v_given jsonb := case jsonb_typeof(given)
        when 'array' then jsonb_build_object('stages', given)
        else given
    end;
    v_tolerance text := coalesce(v_given ->> 'tolerance', '0 rows');
begin
    if given is null or in_force is null then
        return given is null and in_force is null;
    end if;
    return jsonb_typeof(v_given) = 'object'
        and v_given - array['stages', 'tolerance'] = '{}'
        and jsonb_typeof(coalesce(v_given -> 'tolerance', '""')) in ('string', 'null')
        and (v_given -> 'stages') = (in_force -> 'stages')
        -- Equal for one count is equal for all: the kinds are the same, and only percentages grow with the count.
        and (strpos(v_tolerance, '%') = 0) = (strpos(in_force ->> 'tolerance', '%') = 0)
        and record_ledger.count_tolerance(v_tolerance, 1)
            = record_ledger.count_tolerance(in_force ->> 'tolerance', 1);
end
$$;
comment on function record_ledger.is_same_counts(jsonb, jsonb) is
'Private. Whether required_counts mean the ones in force.';

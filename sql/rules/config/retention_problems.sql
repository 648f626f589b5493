-- record_ledger.retention_problems: what is wrong with a config's source_retention and what depends on it.
-- config_problems checks that they are durations; this function checks them together, and with other keys.
-- Called by: config_problems.
-- Uses: duration.
-- Tests: test_retention.py.
create or replace function record_ledger.retention_problems(config jsonb)
returns text[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problems text[] := '{}';
    v_retention text := left((config -> 'source_retention')::text, 80);
    v_source_retention interval := record_ledger.duration(config ->> 'source_retention');
    v_x_time_back interval := record_ledger.duration(config ->> 'x_time_back');
    v_at_risk_within interval := record_ledger.duration(config ->> 'at_risk_within');
    v_order jsonb := config -> 'pass_order';
begin
    if v_source_retention <= v_x_time_back then
        v_problems := v_problems || format(
            'source_retention: %s is not longer than x_time_back %s, so source data would be gone '
            'before it is stable',
            v_retention, config -> 'x_time_back'
        );
    end if;
    if config ? 'at_risk_within' and not config ? 'source_retention' then
        v_problems := v_problems || format(
            'at_risk_within: %s needs a source_retention; give how long after a window''s end its '
            'source data is kept',
            left((config -> 'at_risk_within')::text, 80)
        );
    elsif v_at_risk_within > v_source_retention then
        v_problems := v_problems || format(
            'at_risk_within: %s is longer than source_retention %s; give a part of it',
            config -> 'at_risk_within', v_retention
        );
    end if;
    if v_order not in ('"oldest"', '"deadline"') then
        v_problems := v_problems || format(
            'pass_order: %s is neither "oldest" nor "deadline"', left(v_order::text, 80)
        );
    elsif v_order = '"deadline"' and not config ? 'source_retention' then
        v_problems := v_problems || (
            'pass_order: "deadline" needs a source_retention; give how long after a window''s end '
            'its source data is kept'
        )::text;
    end if;
    if v_order = '"deadline"' and config -> 'depends_on_past' = 'true' then
        v_problems := v_problems || (
            'pass_order: "deadline" cannot be combined with depends_on_past, '
            'which passes records strictly in order; leave one of them out'
        )::text;
    end if;
    return v_problems;
end
$$;
comment on function record_ledger.retention_problems(jsonb) is
'Private. What is wrong with a config''s source_retention, at_risk_within and pass_order, one sentence each.';

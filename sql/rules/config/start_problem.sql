-- record_ledger.start_problem: what is wrong with the start_at of a valid config; null when nothing is.
-- A pipeline without records would store all windows from there onwards, and nothing removes them. One with records has
-- started already.
-- Called by: read_config.
-- Uses: clock, duration, last_window, start_instant.
-- Tests: test_config_rules.py.
create or replace function record_ledger.start_problem(config jsonb, pipeline_id text)
returns text
language plpgsql
stable
as $$
declare
    v_granularity interval := record_ledger.duration(config ->> 'granularity');
    v_count numeric;
begin
    v_count := extract(
        epoch from record_ledger.clock()
            - record_ledger.start_instant(config ->> 'start_at', config ->> 'timezone')
    ) / extract(epoch from v_granularity);
    if v_count > 10000000
        and not exists (select from record_ledger.last_window(start_problem.pipeline_id))
    then
        return format(
            'start_at: %s means %s windows of %s until now; a pipeline may start with at most '
            '10000000, so give a later time or a longer granularity',
            config -> 'start_at', trunc(v_count), config -> 'granularity'
        );
    end if;
    return null;
end
$$;
comment on function record_ledger.start_problem(jsonb, text) is
'Private. What is wrong with the start_at of a valid config; null when nothing is.';

-- record_ledger.is_same_config: does a config mean what the one in force means?
-- It reads only the keys that are spelt differently: a duration as elapsed time, a number as a number, a missing key as
-- its default. A value that it cannot read is not the same; the validation says why. start_at has no meaning once there
-- are records. So a config in other words costs microseconds in each call, not a validation.
-- Called by: batch_to_build, register_config, register_pipeline, register_store_and_pass.
-- Uses: config_keys, duration, is_same_counts, last_window, recount_ages, start_instant.
-- Tests: test_same_config.py.
create or replace function record_ledger.is_same_config(
    p record_ledger.pipeline, config jsonb
)
returns boolean
language plpgsql
stable
as $$
declare
    v_key text;
    v_value jsonb;
    v_text text;
    v_is_same boolean;
begin
    if p.pipeline_id is null or jsonb_typeof(config) <> 'object' then
        return false;
    end if;
    for v_key in
        select k.key
        from unnest(record_ledger.config_keys()) as k (key)
        where nullif(config -> k.key, 'null') is distinct from (p.config -> k.key)
    loop
        v_value := nullif(config -> v_key, 'null');
        v_text := v_value #>> '{}';
        -- A duration is a text with units; no other JSON value is a duration.
        v_is_same := case v_key
            when 'pipeline_id' then coalesce(
                v_value = to_jsonb(p.pipeline_id),
                (config #> '{default_record,pipeline_id}') is not null
            )
            when 'default_record' then case jsonb_typeof(v_value)
                when 'object' then v_value - 'pipeline_id' = p.fields and coalesce(
                    (v_value -> 'pipeline_id') = to_jsonb(p.pipeline_id),
                    nullif(config -> 'pipeline_id', 'null') is not null
                )
            end
            when 'x_time_back' then record_ledger.duration(v_text) = p.x_time_back
            when 'granularity' then record_ledger.duration(v_text) = p.granularity
            when 'lease' then record_ledger.duration(coalesce(v_text, '1h')) = p.lease
            when 'retry_delay' then record_ledger.duration(coalesce(v_text, '5m')) = p.retry_delay
            when 'source_retention' then record_ledger.duration(v_text) = p.source_retention
            when 'at_risk_within' then case
                when v_value is null then p.source_retention / 4
                else record_ledger.duration(v_text)
            end = p.at_risk_within
            when 'check_fields' then coalesce(v_value, '[]') = to_jsonb(p.check_fields)
            when 'max_active_records' then v_value = to_jsonb(p.max_active_records)
            when 'max_attempts' then coalesce(v_value, '3') = to_jsonb(p.max_attempts)
            when 'depends_on_past' then coalesce(v_value, 'false') = to_jsonb(p.depends_on_past)
            when 'backfill_share' then coalesce(v_value, '0') = to_jsonb(p.backfill_share)
            when 'pass_order' then coalesce(v_value, '"oldest"') = to_jsonb(p.pass_order)
            when 'reopen_budget' then coalesce(v_value, '10') = to_jsonb(p.reopen_budget)
            when 'required_counts' then record_ledger.is_same_counts(v_value, p.required_counts)
            when 'recount_ages' then record_ledger.recount_ages(v_value) = p.recount_ages
            when 'start_at' then
                (
                    v_value is null
                    or record_ledger.start_instant(v_text, p.timezone) is not null
                )
                and (
                    record_ledger.start_instant(v_text, p.timezone) = p.start_at
                    or exists (select from record_ledger.last_window(p.pipeline_id))
                )
        end;
        if v_is_same is not true then
            return false;
        end if;
    end loop;
    return true;
end
$$;
comment on function record_ledger.is_same_config(record_ledger.pipeline, jsonb) is
'Private. Whether a config means what the one in force means.';

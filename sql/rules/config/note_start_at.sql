-- record_ledger.note_start_at: raises a notice when a config of a pipeline with records gives another start_at.
-- The notice has the same text in each call: a computed start_at differs in each.
-- Called by: configured, register_pipeline, register_store_and_pass.
-- Uses: start_instant.
-- Tests: test_registering.py.
create or replace function record_ledger.note_start_at(p record_ledger.pipeline, config jsonb)
returns void
language plpgsql
stable
as $$
begin
    if nullif(config -> 'start_at', 'null') is distinct from (p.config -> 'start_at')
        and record_ledger.start_instant(config ->> 'start_at', p.timezone)
            is distinct from p.start_at
        and nullif(config -> 'start_at', 'null') is not null
    then
        raise notice
            'start_at: it has no effect, because pipeline % has records already; %',
            p.pipeline_id,
            coalesce(
                'its first window started at ' || (p.config ->> 'start_at'),
                'its first window started without one'
            )
            using errcode = 'RL000', detail = format('The config says %s.', config -> 'start_at'),
            hint = 'backfill_records adds windows before the first one; waive_records skips some.';
    end if;
end
$$;
comment on function record_ledger.note_start_at(record_ledger.pipeline, jsonb) is
'Private. Raises a notice when a config of a pipeline with records gives another start_at.';

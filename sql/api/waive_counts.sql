-- record_ledger.waive_counts: lets a record be completed although its counts do not agree; nothing else does.
-- It holds for the record's present generation, while that is pending or in progress (RL003 otherwise). The history
-- keeps the reason. Returns false when the counts were waived already. check_record_change guards the change.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: check_reason, clock, local_time, lock_pipeline, lock_record, window_timezone.
-- Tests: test_waived_counts.py.
create or replace function record_ledger.waive_counts(
    pipeline_id text, window_start_time timestamptz, reason text
)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    p record_ledger.pipeline;
    r record_ledger.record;
begin
    perform record_ledger.check_reason(waive_counts.reason);
    -- A pass comes before this or after it. The record's lock then keeps runs from completing it, and operators from
    -- reopening it, until this is committed.
    p := record_ledger.lock_pipeline(waive_counts.pipeline_id);
    r := record_ledger.lock_record(p.pipeline_id, waive_counts.window_start_time);
    if p.required_counts is null then
        raise exception 'required_counts: the config of pipeline % requires no counts, '
            'so there is nothing to waive',
            p.pipeline_id
            using errcode = 'RL005',
            hint = 'Only the records of a config with required_counts have counts to waive.';
    end if;
    if r.status not in ('PENDING', 'IN_PROGRESS') then
        raise exception 'window % of pipeline % is %: '
            'counts can be waived only while a record is PENDING or IN_PROGRESS',
            record_ledger.local_time(
                r.window_start_time, record_ledger.window_timezone(p, r.window_start_time)
            ),
            r.pipeline_id,
            r.status
            using errcode = 'RL003',
            hint = 'Reopen the record, and waive the counts of its new generation.';
    end if;
    if r.counts_waived then
        return false;
    end if;
    update record_ledger.record as u
    set last_event = 'counts_waived',
        last_detail = jsonb_build_object('reason', waive_counts.reason),
        updated_at = record_ledger.clock()
    where u.pipeline_id = r.pipeline_id and u.window_start_time = r.window_start_time;
    return true;
end
$$;
comment on function record_ledger.waive_counts(text, timestamptz, text) is
'Lets the present generation of a record be completed although its counts do not agree, with a reason; returns whether that is new.';

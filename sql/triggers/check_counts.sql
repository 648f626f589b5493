-- record_ledger.check_counts: true when the counts of a record in progress let it be completed; raises RL007 otherwise.
-- They do when they agree, when an operator waived them for this generation, or when the config requires none. It
-- raises 42501 when the pipeline belongs to a role that the session's user is not a member of.
-- It is asked only for records whose pipeline required counts, or had an owner, when they were passed, or since.
-- Called by: check_record_change.
-- Uses: check_owner_of, counts_problem, local_time, stretch_timezone.
-- Tests: test_required_counts.py.
create or replace function record_ledger.check_counts(r record_ledger.record)
returns boolean
language plpgsql
as $$
declare
    v_problem text;
begin
    perform record_ledger.check_owner_of(r.pipeline_id);
    if r.counts_waived then
        return true;
    end if;
    -- A volatile call in a statement of its own: it sees all counts until the record was locked.
    v_problem := record_ledger.counts_problem(r.pipeline_id, r.window_start_time, r.claim_token);
    if v_problem is null then
        return true;
    end if;
    raise exception 'counts do not agree: window % of pipeline % is not completed: %',
        record_ledger.local_time(
            r.window_start_time,
            record_ledger.stretch_timezone(r.pipeline_id, r.window_start_time)
        ),
        r.pipeline_id,
        v_problem
        using errcode = 'RL007',
        hint = 'Count again with observe_record and this claim token, fail the record, '
            'or have its counts waived: waive_counts, with a reason.';
end
$$;
comment on function record_ledger.check_counts(record_ledger.record) is
'Private. True when the counts of a record let it be completed; raises RL007 otherwise.';

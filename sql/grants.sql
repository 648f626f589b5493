-- record_ledger grants: who may do what; applied on every deploy.
-- record_ledger_reader reads the public views and asks the rules; record_ledger_runner also runs the routines.
-- Applied by: every deploy. Nobody but the owner has rights on the tables.
-- Rules: every function that a view calls must be executable by the view's readers.
do $$
declare
    v_right record;
    v_others text[] := '{}';
begin
    -- Granted by hand, or by the owner's default privileges: to write past the routines, or to hang a trigger on a
    -- table, which runs as the owner. A backup's right to read stays.
    for v_right in
        select distinct
            c.oid::regclass as relation,
            a.privilege_type as name,
            c.relkind,
            case a.grantee
                when 0 then 'public'
                else quote_ident(pg_get_userbyid(a.grantee))
            end as grantee
        from pg_class as c
        cross join lateral (
            select x.grantee, x.privilege_type
            from aclexplode(c.relacl) as x
            union
            select x.grantee, x.privilege_type
            from pg_attribute as t
            cross join lateral aclexplode(t.attacl) as x
            where t.attrelid = c.oid
        ) as a
        where c.relnamespace = to_regnamespace('record_ledger') and a.grantee <> c.relowner
            and a.privilege_type <> 'SELECT'
    loop
        execute format(
            'revoke %s on %s %s from %s cascade',
            v_right.name,
            case v_right.relkind when 'S' then 'sequence' else 'table' end,
            v_right.relation,
            v_right.grantee
        );
        if v_right.grantee not in ('public', 'record_ledger_reader', 'record_ledger_runner') then
            v_others := v_others || v_right.grantee;
        end if;
    end loop;
    if cardinality(v_others) > 0 then
        raise warning
            'rights to change the ledger''s tables are taken from %: grant record_ledger_runner.',
            (select string_agg(distinct o, ', ') from unnest(v_others) as o);
    end if;
end
$$;

do $$
declare
    v_role text;
    v_object text;
begin
    -- What earlier releases granted and this one does not must not stay.
    revoke all on all tables in schema record_ledger from public;
    revoke all on all sequences in schema record_ledger from public;
    revoke all on all routines in schema record_ledger from public;
    foreach v_role in array array['record_ledger_reader', 'record_ledger_runner'] loop
        -- roles.sql has said so.
        continue when to_regrole(v_role) is null;
        execute format('revoke all on all tables in schema record_ledger from %I', v_role);
        execute format('revoke all on all routines in schema record_ledger from %I', v_role);
        execute format('grant usage on schema record_ledger to %I', v_role);
        foreach v_object in array array[
            'archived_record_events',
            'archived_record_observations',
            'archived_records',
            'changed_records',
            'daily_coverage',
            'oldest_valid_record',
            'pipeline_events',
            'pipeline_lateness',
            'pipeline_progress',
            'pipeline_records',
            'pipelines',
            'record_events',
            'record_observations',
            'record_verdicts',
            'records_at_risk'
        ] loop
            execute format('grant select on record_ledger.%I to %I', v_object, v_role);
        end loop;
        foreach v_object in array array[
            'attempt_ending(text, jsonb)',
            'clock()',
            'config_keys()',
            'config_problems(jsonb, boolean, boolean)',
            'count_tolerance(text, bigint)',
            'day_coverage(record_ledger.pipeline, date)',
            'day_start(date, text)',
            'days_with_windows(record_ledger.pipeline)',
            'deployed_release()',
            'duration(text)',
            'edit_distance(text, text)',
            'is_complete(jsonb, text[])',
            'is_stage(text)',
            'is_at_risk(timestamptz, record_ledger.pipeline, timestamptz)',
            'is_lost(timestamptz, interval, timestamptz)',
            'is_stable(timestamptz, interval, timestamptz)',
            'instant(text)',
            'half_of_time_left(timestamptz, record_ledger.pipeline, timestamptz)',
            'iso_time(timestamptz)',
            'known_config(jsonb)',
            'lateness(record_ledger.pipeline)',
            'ledger_columns()',
            'local_day(timestamptz, text)',
            'local_instant(timestamp, text)',
            'local_instants(timestamp, text)',
            'local_time(timestamptz, text)',
            'missing_fields(jsonb, text[])',
            'near_names(text, text[])',
            'pipeline_answer(record_ledger.pipeline, timestamptz)',
            'first_window_start(record_ledger.pipeline, timestamptz)',
            'is_within_day(timestamptz, timestamp, interval, text)',
            'next_window(timestamptz, interval, text)',
            'required_counts_problems(jsonb)',
            'open_counts_problem(text, timestamptz)',
            'open_windows(record_ledger.pipeline, timestamptz)',
            'record_verdict(record_ledger.record, record_ledger.pipeline, timestamptz, bigint, '
            'timestamptz)',
            'recount_problems(jsonb)',
            'retention_problems(jsonb)',
            'retry_time(timestamptz, integer, timestamptz, record_ledger.pipeline)',
            'sees_tokens()',
            'is_ledger_owner(name)',
            'shortened(text, integer)',
            'json_problem(jsonb, integer)',
            'start_instant(text, text)',
            'stretch_timezone(text, timestamptz)',
            'time_interval(timestamptz, timestamptz)',
            'twofold_time(text, text)',
            'unstable_reason(timestamptz, timestamptz, interval, text)',
            'wall_time(text)',
            'window_timezone(record_ledger.pipeline, timestamptz)',
            'archivable_records(text, timestamptz, integer)',
            'new_windows(text, timestamptz, integer)',
            'oldest_pending_record(text)',
            'plan_runs(text, integer, timestamptz, integer, interval)',
            'pipeline_time(text, text)',
            'window_time(text, text)',
            'range_effects(text, text, timestamptz, timestamptz)',
            'is_day_sealed(text, date)',
            'recount_due(text)',
            'suggest_x_time_back(text, numeric)',
            'records_as_of(timestamptz)'
        ] loop
            execute format('grant execute on function record_ledger.%s to %I', v_object, v_role);
        end loop;
    end loop;
    if to_regrole('record_ledger_runner') is not null then
        grant execute on routine
        record_ledger.register_pipeline(jsonb),
        record_ledger.store_new_records(text, jsonb, integer),
        record_ledger.pass_valid_record(text, text),
        record_ledger.store_new_and_pass_valid_record(jsonb, text, jsonb),
        record_ledger.pass_valid_records(jsonb, text, integer, jsonb),
        record_ledger.complete_record(text, bigint, jsonb, timestamptz),
        record_ledger.complete_and_pass(text, bigint, text, jsonb, timestamptz),
        record_ledger.complete_records(text, bigint[], jsonb[], timestamptz[]),
        record_ledger.fail_record(text, bigint, text, boolean, timestamptz),
        record_ledger.release_record(text, bigint, timestamptz, timestamptz),
        record_ledger.extend_lease(text, bigint, timestamptz),
        record_ledger.claim_state(text, bigint),
        record_ledger.observe_record(text, timestamptz, text, bigint, jsonb, bigint),
        record_ledger.adopt_observations(text, bigint, text, timestamptz),
        record_ledger.waive_counts(text, timestamptz, text),
        record_ledger.waive_records(text, timestamptz, timestamptz, text),
        record_ledger.reopen_records(text, timestamptz, timestamptz, text),
        record_ledger.expire_leases(text, timestamptz, timestamptz, text),
        record_ledger.cancel_records(text, timestamptz, timestamptz, text),
        record_ledger.reopen_changed_records(text),
        record_ledger.backfill_records(text, timestamptz, text),
        record_ledger.range_step(text, text, timestamptz, timestamptz, text, integer),
        record_ledger.range_in_steps(text, text, timestamptz, timestamptz, text, bigint),
        record_ledger.pause_pipeline(text, text),
        record_ledger.set_pipeline_owner(text, text),
        record_ledger.resume_pipeline(text, text),
        record_ledger.retire_pipeline(text, text),
        record_ledger.archive_records(text, timestamptz, integer)
        to record_ledger_runner;
    end if;
end
$$;

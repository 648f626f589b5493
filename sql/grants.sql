-- record_ledger grants: who may do what; applied on every deploy.
-- record_ledger_reader reads the public views and asks the rules; record_ledger_runner also runs the routines.
-- Applied by: every deploy. Only the owner has rights on the tables.
-- Rules: public_objects() is the list; every function that a view calls must be executable by the view's readers.
do $$
declare
    v_right record;
    v_others text[] := '{}';
begin
    -- An administrator or the owner's default privileges may have granted rights to write past the routines, or to
    -- create a trigger on a table, which runs as the owner. A backup's right to read stays.
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
            'rights to change the ledger''s tables are revoked from %: grant record_ledger_runner.',
            (select string_agg(distinct o, ', ') from unnest(v_others) as o);
    end if;
end
$$;

do $$
declare
    v_role text;
    v_object record;
    v_rule text;
begin
    -- Rights that earlier releases granted and this one does not must go.
    revoke all on all tables in schema record_ledger from public;
    revoke all on all sequences in schema record_ledger from public;
    revoke all on all routines in schema record_ledger from public;
    foreach v_role in array array['record_ledger_reader', 'record_ledger_runner'] loop
        -- roles.sql has warned of it.
        continue when to_regrole(v_role) is null;
        execute format('revoke all on all tables in schema record_ledger from %I', v_role);
        execute format('revoke all on all routines in schema record_ledger from %I', v_role);
        execute format('grant usage on schema record_ledger to %I', v_role);
        for v_object in
            select
                case q.kind when 'view' then 'select' else 'execute' end as right_name,
                case q.kind when 'view' then 'table' else 'routine' end as kind,
                q.object
            from record_ledger.public_objects() as q
            where v_role in ('record_ledger_runner', 'record_ledger_' || q.role)
        loop
            execute format(
                'grant %s on %s record_ledger.%s to %I',
                v_object.right_name, v_object.kind, v_object.object, v_role
            );
        end loop;
        -- The rules that views call run with the rights of the view's reader. The others are harmless to call.
        foreach v_rule in array array[
            'attempt_ending(text, jsonb)',
            'clock()',
            'config_keys()',
            'config_problems(jsonb, boolean, boolean)',
            'count_tolerance(text, bigint)',
            'day_coverage(record_ledger.pipeline, date)',
            'day_start(date, text)',
            'days_with_windows(record_ledger.pipeline)',
            'duration(text)',
            'edit_distance(text, text)',
            'first_window_start(record_ledger.pipeline, timestamptz)',
            'half_of_time_left(timestamptz, record_ledger.pipeline, timestamptz)',
            'instant(text)',
            'is_at_risk(timestamptz, record_ledger.pipeline, timestamptz)',
            'is_ledger_owner(name)',
            'is_lost(timestamptz, interval, timestamptz)',
            'is_stable(timestamptz, interval, timestamptz)',
            'is_stage(text)',
            'iso_time(timestamptz)',
            'json_problem(jsonb, integer)',
            'known_config(jsonb)',
            'lateness(record_ledger.pipeline)',
            'ledger_columns()',
            'local_day(timestamptz, text)',
            'local_instant(timestamp, text)',
            'local_instants(timestamp, text)',
            'local_time(timestamptz, text)',
            'missing_fields(jsonb, text[])',
            'near_names(text, text[])',
            'is_within_day(timestamptz, timestamp, interval, text)',
            'next_window(timestamptz, interval, text)',
            'open_counts_problem(text, timestamptz)',
            'open_windows(record_ledger.pipeline, timestamptz)',
            'pipeline_answer(record_ledger.pipeline, timestamptz)',
            'public_objects()',
            'record_verdict(record_ledger.record, record_ledger.pipeline, timestamptz, '
            'bigint, timestamptz)',
            'recount_problems(jsonb)',
            'required_counts_problems(jsonb)',
            'retention_problems(jsonb)',
            'retry_time(timestamptz, integer, timestamptz, record_ledger.pipeline)',
            'sees_tokens()',
            'shortened(text, integer)',
            'start_instant(text, text)',
            'stretch_timezone(text, timestamptz)',
            'time_interval(timestamptz, timestamptz)',
            'twofold_time(text, text)',
            'unstable_reason(timestamptz, timestamptz, interval, text)',
            'wall_time(text)',
            'window_timezone(record_ledger.pipeline, timestamptz)'
        ] loop
            execute format('grant execute on function record_ledger.%s to %I', v_rule, v_role);
        end loop;
    end loop;
end
$$;

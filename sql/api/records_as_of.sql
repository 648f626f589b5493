-- record_ledger.records_as_of: the ledger as it stood at an instant, archived records included.
-- One row per record that was stored by then, as its newest event until then left it. The ledger's own times count: a
-- change that was made before the instant and committed after it is included. PostgreSQL merges the query below into
-- the query around it, so a filter on one pipeline or window reads only that one.
-- It reverses what check_record_change did with each event. Types are exact (docs/design.md, Names).
-- Called by: record_ledger_reader, the Python runner.
-- Uses: archived_record_events, archived_records, pipeline_records, record_events.
-- Tests: test_as_of.py.
create or replace function record_ledger.records_as_of(at timestamptz)
returns table (
    pipeline_id text,
    target_day date,
    window_start_time timestamptz,
    window_end_time timestamptz,
    time_interval text,
    status text,
    created_at timestamptz,
    updated_at timestamptz,
    fields jsonb,
    generation integer,
    attempt integer,
    claim_token bigint,
    run_id text,
    config_version integer,
    last_event text,
    last_detail jsonb
)
language sql
stable
as $$
    select
        r.pipeline_id,
        r.target_day,
        r.window_start_time,
        r.window_end_time,
        r.time_interval,
        case when r.is_as_now then r.status else coalesce(e.to_status, 'PENDING') end as status,
        r.created_at,
        case
            when r.is_as_now then r.updated_at
            else coalesce(e.event_time, r.created_at)
        end as updated_at,
        case
            when b.event_no is null then r.fields
            -- Until 0.4.0 an event held all fields.
            when b.event = 'rebuilt'::text and not b.detail ? 'fields_added'::text
                then b.detail -> 'fields_before'::text
            when c.names is null then r.fields
            else (r.fields - c.names) || coalesce(c.fields_before, '{}'::jsonb)
        end as fields,
        case when r.is_as_now then r.generation else coalesce(e.generation, 1) end as generation,
        case
            when r.is_as_now then r.attempt
            -- The event of a release has its attempt, but the record does not count it.
            else coalesce(e.attempt - (e.event = 'released')::integer, 0)
        end as attempt,
        case
            when r.is_as_now then r.claim_token
            when e.to_status <> 'PENDING' then e.claim_token
        end as claim_token,
        case
            when r.is_as_now then r.run_id
            when e.to_status <> 'PENDING' then e.run_id
        end as run_id,
        case
            when b.event_no is null then r.config_version
            else (b.detail ->> 'config_version_before'::text)::integer
        end as config_version,
        case when r.is_as_now then r.last_event else e.event end as last_event,
        case
            when r.is_as_now then r.last_detail
            when e.event not in ('passed', 'passed_again') or e.detail <> '{}'::jsonb
                then e.detail
        end as last_detail
    from (
        select
            l.pipeline_id, l.target_day, l.window_start_time, l.window_end_time, l.time_interval,
            l.status, l.created_at, l.updated_at, l.fields, l.generation, l.attempt, l.claim_token,
            l.run_id, l.config_version, l.last_event, l.last_detail,
            -- Its newest event is that old: no other one is needed.
            l.updated_at <= records_as_of.at as is_as_now
        from record_ledger.pipeline_records as l
        union all
        select
            a.pipeline_id, a.target_day, a.window_start_time, a.window_end_time, a.time_interval,
            a.status, a.created_at, a.updated_at, a.fields, a.generation, a.attempt, a.claim_token,
            a.run_id, a.config_version, a.last_event, a.last_detail,
            a.updated_at <= records_as_of.at
        from record_ledger.archived_records as a
    ) as r
    left join lateral (
        select
            v.event_time, v.event, v.to_status, v.generation, v.attempt, v.claim_token, v.run_id,
            v.detail
        from (
            select
                l.pipeline_id, l.window_start_time, l.event_no, l.event_time, l.event, l.to_status,
                l.generation, l.attempt, l.claim_token, l.run_id, l.detail
            from record_ledger.record_events as l
            union all
            select
                a.pipeline_id, a.window_start_time, a.event_no, a.event_time, a.event, a.to_status,
                a.generation, a.attempt, a.claim_token, a.run_id, a.detail
            from record_ledger.archived_record_events as a
        ) as v
        where not r.is_as_now
            and v.pipeline_id = r.pipeline_id and v.window_start_time = r.window_start_time
            and v.event_time <= records_as_of.at
        order by v.event_no desc
        limit 1
    ) as e on true
    -- The first build after the instant has the state before it; a build that changed no field is recorded in its pass.
    left join lateral (
        select v.event_no, v.event, v.detail
        from (
            select
                l.pipeline_id, l.window_start_time, l.event_no, l.event_time, l.event, l.detail
            from record_ledger.record_events as l
            union all
            select
                a.pipeline_id, a.window_start_time, a.event_no, a.event_time, a.event, a.detail
            from record_ledger.archived_record_events as a
        ) as v
        where not r.is_as_now
            and v.pipeline_id = r.pipeline_id and v.window_start_time = r.window_start_time
            and v.event_time > records_as_of.at
            and v.event in ('rebuilt', 'passed') and v.detail ? 'config_version_before'::text
        order by v.event_no
        limit 1
    ) as b on true
    -- For each field that was changed since: its value before the first change; none where it was added.
    left join lateral (
        select
            pg_catalog.array_agg(f.name) as names,
            pg_catalog.jsonb_object_agg(f.name, f.value) filter (
                where f.value is not null
            ) as fields_before
        from (
            select distinct on (k.name) k.name, k.value
            from (
                select
                    l.pipeline_id, l.window_start_time, l.event_no, l.event_time, l.event, l.detail
                from record_ledger.record_events as l
                union all
                select
                    a.pipeline_id, a.window_start_time, a.event_no, a.event_time, a.event, a.detail
                from record_ledger.archived_record_events as a
            ) as v
            cross join lateral (
                select o.key as name, o.value
                from pg_catalog.jsonb_each(v.detail -> 'fields_before'::text) as o
                union all
                select n.name, null::jsonb as value
                from pg_catalog.jsonb_array_elements_text(
                    v.detail -> 'fields_added'::text
                ) as n (name)
            ) as k
            where b.event_no is not null
                and v.pipeline_id = r.pipeline_id and v.window_start_time = r.window_start_time
                and v.event_no >= b.event_no
                and v.event = 'rebuilt' and v.detail ? 'fields_added'::text
            order by k.name, v.event_no
        ) as f
    ) as c on true
    where r.created_at <= records_as_of.at
$$;
comment on function record_ledger.records_as_of(timestamptz) is
'The ledger as it stood at an instant: one row per record stored by then, archived ones included, computed from its events.';

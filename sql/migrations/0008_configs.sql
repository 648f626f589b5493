-- record_ledger migration 8: configs by meaning, and the fields that records are passed with.
-- What a pass must know of a pipeline to tell an outdated record from a current one without looking at any other.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: a record is outdated when it was built before the fields_version of its pipeline, or never.

-- ---------------------------------------------------------------- pipeline
alter table record_ledger.pipeline
-- The config_version at which default_record or check_fields last changed. Other keys make no record outdated.
add column fields_version integer not null default 1,
-- The check_fields that default_record leaves empty; null when it fills all. The one answer for all outdated records.
add column missing_fields text[],
-- Where default_record leaves some empty: the first record that a caller's own fields have made complete.
add column filled_from timestamptz;

update record_ledger.pipeline as p
set fields_version = coalesce(
        (
            select max(v.config_version)
            from (
                select
                    (e.detail ->> 'config_version')::integer as config_version,
                    f.fields,
                    f.check_fields,
                    lag(f.fields) over (order by e.event_no) as fields_before,
                    lag(f.check_fields) over (order by e.event_no) as check_fields_before
                from record_ledger.pipeline_event as e
                cross join lateral (
                    select
                        (e.detail #> '{config,default_record}') - 'pipeline_id' as fields,
                        coalesce(e.detail #> '{config,check_fields}', '[]') as check_fields
                ) as f
                where e.pipeline_id = p.pipeline_id and e.event in ('registered', 'reconfigured')
            ) as v
            where v.fields is distinct from v.fields_before
                or v.check_fields is distinct from v.check_fields_before
        ),
        p.config_version
    ),
    missing_fields = (
        select array_agg(c.field order by c.place)
        from unnest(p.check_fields) with ordinality as c (field, place)
        where coalesce(p.fields ->> c.field, '') = ''
            and c.field not in (
                'pipeline_id',
                'target_day',
                'window_start_time',
                'window_end_time',
                'time_interval'
            )
    );

-- ---------------------------------------------------------------- record
alter table record_ledger.record disable trigger user;

-- What was never built waits with the others from now on: a pass builds it. It may be older than what was passed since.
update record_ledger.record as r
set missing_fields = null,
    lane = case when r.is_historical then 'historical' else 'returned' end
where r.open_pipeline_id is not null and r.lane in ('incomplete', 'unbuilt')
    and r.config_version is null;

-- Incomplete records that were built are separated by the config that they were built with.
update record_ledger.record as r
set lane = 'incomplete' || lpad(r.config_version::text, 10, '0')
        || case when r.is_historical then 'h' else '' end
where r.open_pipeline_id is not null and r.lane in ('incomplete', 'unbuilt');

-- All other records that were never built count by default_record as well.
update record_ledger.record as r
set missing_fields = null
where r.open_pipeline_id is not null and r.config_version is null and r.missing_fields is not null;

alter table record_ledger.record enable trigger user;

-- Views that others may have built on hold the whole row, so the two columns stay, and nothing reads them.
comment on column record_ledger.record.awaits_build is
'Private. Not used any more: the lane and the config_version say which record is to be built.';
comment on column record_ledger.record.out_of_order is
'Private. Not used any more: a record that has left the lane ''waiting'' never comes back to it.';

-- ---------------------------------------------------------------- pipeline_event
-- Finds a config that returns by its text, for any number of configs of a pipeline.
create index configs_by_text
on record_ledger.pipeline_event (
    pipeline_id, pg_catalog.hashtextextended(detail ->> 'config', 0)
)
where detail ->> 'config' is not null;
-- The few that have returned, newest last.
create index returned_configs
on record_ledger.pipeline_event (event_time, pipeline_id)
where detail ->> 'same_config_as_version' is not null;

-- ---------------------------------------------------------------- functions whose signature is another one now
drop function if exists record_ledger.lane(text, text[], boolean, integer, boolean, boolean);
drop function if exists record_ledger.config_problems(jsonb);
drop function if exists record_ledger.next_answer(record_ledger.pipeline, text, timestamptz);
drop function if exists record_ledger.oldest_due(text, text, timestamptz, timestamptz);
drop function if exists record_ledger.pass_record(record_ledger.pipeline, text, timestamptz);
drop function if exists record_ledger.windows_to_build(
    record_ledger.pipeline, boolean, timestamptz
);
drop function if exists record_ledger.build_records(record_ledger.pipeline, jsonb, timestamptz);
drop function if exists record_ledger.can_build_alone(record_ledger.pipeline, timestamptz);
drop function if exists record_ledger.record_missing_fields(
    jsonb, integer, record_ledger.pipeline
);
drop function if exists record_ledger.pending_in_order(
    text, integer, integer, timestamptz, integer
);
drop function if exists record_ledger.expected_claims(
    record_ledger.pipeline, timestamptz, interval, boolean, timestamptz
);
drop function if exists record_ledger.stuck_window(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz[], boolean
);

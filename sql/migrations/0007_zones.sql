-- record_ledger migration 7: the zone that windows were cut with.
-- One row per pipeline and stretch of windows; what older releases know of it stands in the events of pipelines.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: a stretch begins where its first window starts, and lasts until the next one begins.

-- ---------------------------------------------------------------- pipeline
alter table record_ledger.pipeline
-- All windows from this instant on were cut with the zone in force, so a pass looks nothing up. Null while the zone in
-- force has cut none: pipeline_zone then knows the zone of each.
add column zone_since timestamptz;

-- ---------------------------------------------------------------- pipeline_zone
create table record_ledger.pipeline_zone (
    pipeline_id text not null references record_ledger.pipeline (pipeline_id),
    -- The start of the first window that was cut with the zone.
    from_time timestamptz not null,
    timezone text not null,
    constraint one_zone_per_window_start primary key (pipeline_id, from_time)
);
comment on table record_ledger.pipeline_zone is
'Private. One row per stretch of windows of a pipeline that were cut with one time zone.';

-- Each config that a pipeline has had stands in an event of its own, with its version. A window was cut with the zone
-- of the version that its record was first built with. A record that was stored unbuilt was cut with the newest
-- version that was in force by then. Where events are missing the zone in force has to do.
with version as (
    select
        e.pipeline_id,
        (e.detail ->> 'config_version')::integer as config_version,
        e.event_time,
        e.detail #>> '{config,timezone}' as timezone
    from record_ledger.pipeline_event as e
    where e.event in ('registered', 'reconfigured')
        and e.detail ? 'config_version'
        and e.detail #>> '{config,timezone}' is not null
),

-- Most pipelines have had one zone, and no record has to be looked at.
pipeline as (
    select
        p.pipeline_id,
        p.timezone,
        coalesce(m.has_moved, false) as has_moved
    from record_ledger.pipeline as p
    cross join lateral (
        select bool_or(v.timezone <> p.timezone) as has_moved
        from version as v
        where v.pipeline_id = p.pipeline_id
    ) as m
),

-- 'rebuilt' was the event of a record that is built with another version; the first one knows what was there before.
record as (
    select
        r.pipeline_id,
        r.window_start_time,
        r.created_at,
        case when b.detail is null then r.config_version
            else (b.detail ->> 'config_version_before')::integer
        end as config_version
    from record_ledger.record as r
    join pipeline as p on p.pipeline_id = r.pipeline_id and p.has_moved
    left join lateral (
        select e.detail
        from record_ledger.record_event as e
        where e.pipeline_id = r.pipeline_id
            and e.window_start_time = r.window_start_time
            and e.event = 'rebuilt'
        order by e.event_no
        limit 1
    ) as b on true
    union all
    select
        r.pipeline_id,
        r.window_start_time,
        r.created_at,
        case when b.detail is null then r.config_version
            else (b.detail ->> 'config_version_before')::integer
        end as config_version
    from record_ledger.archived_record as r
    join pipeline as p on p.pipeline_id = r.pipeline_id and p.has_moved
    left join lateral (
        select e.detail
        from record_ledger.archived_record_event as e
        where e.pipeline_id = r.pipeline_id
            and e.window_start_time = r.window_start_time
            and e.event = 'rebuilt'
        order by e.event_no
        limit 1
    ) as b on true
),

window_zone as (
    select
        r.pipeline_id,
        r.window_start_time,
        coalesce(
            (
                select v.timezone
                from version as v
                where v.pipeline_id = r.pipeline_id and v.config_version = r.config_version
            ),
            (
                select v.timezone
                from version as v
                where v.pipeline_id = r.pipeline_id and v.event_time <= r.created_at
                order by v.config_version desc
                limit 1
            ),
            p.timezone
        ) as timezone
    from record as r
    join pipeline as p on p.pipeline_id = r.pipeline_id
),

stretch as (
    select
        w.pipeline_id,
        w.window_start_time,
        w.timezone,
        lag(w.timezone) over (
            partition by w.pipeline_id order by w.window_start_time
        ) as timezone_before
    from window_zone as w
)

insert into record_ledger.pipeline_zone (pipeline_id, from_time, timezone)
select
    s.pipeline_id,
    s.window_start_time,
    s.timezone
from stretch as s
where s.timezone is distinct from s.timezone_before
union all
select
    p.pipeline_id,
    f.window_start_time,
    p.timezone
from pipeline as p
cross join lateral (
    select least(
        (
            select r.window_start_time
            from record_ledger.record as r
            where r.pipeline_id = p.pipeline_id
            order by r.window_start_time
            limit 1
        ),
        (
            select a.window_start_time
            from record_ledger.archived_record as a
            where a.pipeline_id = p.pipeline_id
            order by a.window_start_time
            limit 1
        )
    ) as window_start_time
) as f
where not p.has_moved and f.window_start_time is not null;

update record_ledger.pipeline as p
set zone_since = z.from_time
from (
    select distinct on (s.pipeline_id)
        s.pipeline_id,
        s.from_time,
        s.timezone
    from record_ledger.pipeline_zone as s
    order by s.pipeline_id asc, s.from_time desc
) as z
where z.pipeline_id = p.pipeline_id and z.timezone = p.timezone;

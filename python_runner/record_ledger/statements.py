"""Every SQL text that the runner sends but those of operators, and nothing else.

The texts are constants: values are bound by the driver, never formatted in.
"""

# ruff: noqa: S105 - "pass" hands a record out here; no text holds a password

from __future__ import annotations

# ---------------------------------------------------------------- the cycle
# The answer comes as one object: to read from the function as from a table, column by column, would
# take a tenth longer where there is nothing to pass.
STORE_NEW_AND_PASS = """
select to_json(record_ledger.store_new_and_pass_valid_record(%s::jsonb, %s::text, %s::jsonb))
"""
PASS_VALID_RECORDS = """
select to_json(record_ledger.pass_valid_records(%s::jsonb, %s::text, %s::integer, %s::jsonb))
"""
PASS_VALID = """
select to_json(a), p.timezone
from record_ledger.pass_valid_record(%(pipeline_id)s::text, %(run_id)s::text) as a
left join record_ledger.pipelines as p on p.pipeline_id = %(pipeline_id)s::text
"""
REGISTER_PIPELINE = "select record_ledger.register_pipeline(%s::jsonb)"
STORE_NEW_RECORDS = "call record_ledger.store_new_records(%s::text, %s::jsonb, 0)"
OLDEST_PENDING_RECORD = """
select o.record, p.timezone
from (select record_ledger.oldest_pending_record(%s::text) as record) as o
left join record_ledger.pipelines as p on p.pipeline_id = o.record ->> 'pipeline_id'
"""

# ---------------------------------------------------------------- the end of a claim
COMPLETE_RECORD = "select record_ledger.complete_record(%s::text, %s::bigint, %s::jsonb)"
FAIL_RECORD = "select record_ledger.fail_record(%s::text, %s::bigint, %s::text, %s::boolean)"
RELEASE_RECORD = "select record_ledger.release_record(%s::text, %s::bigint)"
EXTEND_LEASE = """
select e.lease_expires_at, p.timezone as view_timezone,
    jsonb_build_object('lease_expires_at', e.lease_expires_at at time zone p.timezone)
        as wall_times
from record_ledger.extend_lease(%(pipeline_id)s::text, %(claim_token)s::bigint)
    as e (lease_expires_at)
left join record_ledger.pipelines as p on p.pipeline_id = %(pipeline_id)s::text
"""

# ---------------------------------------------------------------- the archive
ARCHIVE_RECORDS = "select record_ledger.archive_records(%s::text, %s::timestamptz, %s::integer)"
# The first instant at which a pipeline's clocks show a local time; null when nobody registered it.
PIPELINE_TIME = "select record_ledger.pipeline_time(%s::text, %s::text)"

# ---------------------------------------------------------------- readers
# Each row carries the wall clock of its times in its pipeline's zone, as the server reckons it:
# Python's time zone data may be of another year.
_WALL_TIMES = """
    (
        select jsonb_object_agg(t.key, (t.value #>> '{}')::timestamptz at time zone p.timezone)
        from jsonb_each(to_jsonb(v)) as t
        where t.key = any (%(time_columns)s::text[]) and t.value <> 'null'
    ) as wall_times
"""
# A window may be named by its instant, or by the wall clock of its pipeline's zone. The day around
# the wall clock keeps the look-up in the index.
_OF_WINDOW = """
(
    v.window_start_time = %(instant)s::timestamptz
    or (
        v.window_start_time >= ((%(wall)s::timestamp - interval '1 day') at time zone 'UTC')
        and v.window_start_time <= ((%(wall)s::timestamp + interval '1 day') at time zone 'UTC')
        and v.window_start_time at time zone p.timezone = %(wall)s::timestamp
    )
    or (%(instant)s::timestamptz is null and %(wall)s::timestamp is null)
)
"""


def with_wall_times(text: str) -> str:
    """Returns a reader's text with its marks filled in."""
    return text.replace("/* wall_times */", _WALL_TIMES).replace("/* of_window */", _OF_WINDOW)


TIME_COLUMNS_OF_VIEWS = [
    "window_start_time", "window_end_time", "start_at", "ready_at",
    "retry_at", "lease_expires_at", "oldest_valid_window", "done_until",
    "first_window_start_time", "last_window_end_time", "next_window_start_time",
    "next_window_due_at",
    "paused_at", "event_time", "created_at", "updated_at",
    "archived_at", "archived_until", "last_window_start_time", "stable_at",
    "starts_at", "ends_at", "source_kept_until", "counted_at",
    "due_at", "observed_at", "day_start_time", "day_end_time",
]  # fmt: skip
NEW_WINDOWS = with_wall_times("""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.new_windows(
    %(pipeline_id)s::text, max_windows => %(max_windows)s::integer
) as v
left join record_ledger.pipelines as p on p.pipeline_id = %(pipeline_id)s::text
order by v.window_start_time
""")
NEW_WINDOWS_AS_OF = with_wall_times("""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.new_windows(
    %(pipeline_id)s::text, %(as_of)s::timestamptz, %(max_windows)s::integer
) as v
left join record_ledger.pipelines as p on p.pipeline_id = %(pipeline_id)s::text
order by v.window_start_time
""")
PIPELINES = with_wall_times("""
select v.*, /* wall_times */
from record_ledger.pipelines as v
cross join lateral (select v.timezone) as p
where %(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text
order by v.pipeline_id
""")
PIPELINE_PROGRESS = with_wall_times("""
select v.*, /* wall_times */
from record_ledger.pipeline_progress as v
cross join lateral (select v.timezone) as p
where %(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text
order by v.pipeline_id
""")
OLDEST_VALID_RECORD = with_wall_times("""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.oldest_valid_record as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where %(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text
order by v.pipeline_id
""")
RECORD_VERDICTS = with_wall_times("""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.record_verdicts as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where (%(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text)
    and (%(instant)s::timestamptz is null or v.window_start_time = %(instant)s::timestamptz)
order by v.pipeline_id, v.window_start_time
limit %(limit)s::integer
""")
PIPELINE_RECORDS = with_wall_times("""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.pipeline_records as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where v.pipeline_id = %(pipeline_id)s::text and /* of_window */
order by v.window_start_time
limit %(limit)s::integer
""")
RECORD_EVENTS = with_wall_times("""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.record_events as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where v.pipeline_id = %(pipeline_id)s::text and /* of_window */
order by v.window_start_time, v.event_no
""")
# Up to 18 digits: a longer number is another's, and no bigint.
LAST_RUN_NUMBER = """
select coalesce(max(substr(e.run_id, length(%(prefix)s::text) + 1)::bigint), 0)
from record_ledger.record_events as e
where e.pipeline_id = %(pipeline_id)s::text
    and starts_with(e.run_id, %(prefix)s::text)
    and substr(e.run_id, length(%(prefix)s::text) + 1) ~ '^[1-9][0-9]{0,17}$'
"""
PLAN_RUNS = with_wall_times("""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.plan_runs(
    %(pipeline_id)s::text,
    %(runs)s::integer,
    %(at)s::timestamptz,
    %(workers)s::integer,
    record_ledger.duration(%(run_duration)s::text)
) as v
left join record_ledger.pipelines as p on p.pipeline_id = %(pipeline_id)s::text
where %(instant)s::timestamptz is null
    or v.run_no is null
    or v.window_start_time = %(instant)s::timestamptz
order by v.run_no nulls last
""")
ARCHIVABLE_RECORDS = with_wall_times("""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.archivable_records(
    %(pipeline_id)s::text, %(before)s::timestamptz, %(max_records)s::integer
) as v
left join record_ledger.pipelines as p on p.pipeline_id = %(pipeline_id)s::text
""")
ARCHIVED_RECORDS = with_wall_times("""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.archived_records as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where v.pipeline_id = %(pipeline_id)s::text and /* of_window */
order by v.window_start_time
limit %(limit)s::integer
""")
ARCHIVED_RECORD_EVENTS = with_wall_times("""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.archived_record_events as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where v.pipeline_id = %(pipeline_id)s::text and /* of_window */
order by v.window_start_time, v.event_no
""")
RECORDS_AS_OF = with_wall_times("""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.records_as_of(%(instant)s::timestamptz) as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where %(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text
order by v.pipeline_id, v.window_start_time
""")
COUNTS_AS_OF = """
select v.pipeline_id, v.status, count(*)
from record_ledger.records_as_of(%(instant)s::timestamptz) as v
where %(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text
group by v.pipeline_id, v.status
order by v.pipeline_id, v.status
"""
PIPELINE_EVENTS = with_wall_times("""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.pipeline_events as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where %(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text
order by v.pipeline_id, v.event_no
""")

BEHIND = """
select v.pipeline_id
from record_ledger.pipeline_progress as v
where (%(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text)
    and v.lag > record_ledger.duration(%(limit)s::text)
"""
LOCAL_DAY = """
select (record_ledger.clock() at time zone %(timezone)s::text)::date - %(days_ago)s::integer
"""
DURATION = "select record_ledger.duration(%s::text)"
# What a sensor looks at while it waits: whether a run would be passed something or store a window,
# and the seconds until the nearest instant at which that can change.
NEXT_LOOK = """
select
    v.verdict,
    v.reason,
    v.next_window_due_at < m.now as is_due,
    extract(epoch from least(
        case when v.ready_at > m.now then v.ready_at end,
        case when v.next_window_due_at >= m.now then v.next_window_due_at end
    ) - m.now)::float8 as wait_seconds
from (select record_ledger.clock() as now) as m
join record_ledger.pipeline_progress as v on v.pipeline_id = %s::text
"""

# ---------------------------------------------------------------- deploy and doctor
IS_DEPLOYED = "select to_regclass('record_ledger.deployment') is not null"
RELEASES = "select d.release from record_ledger.deployment as d order by d.deployed_at, d.release"
MIGRATIONS = "select m.name from record_ledger.migration as m order by m.version"
SERVER = """
select current_setting('server_version_num')::integer, current_user, current_database(),
    pg_catalog.clock_timestamp()
"""
BACKEND = "select pg_catalog.pg_backend_pid()"
CAN_ASK_RELEASE = "select has_function_privilege('record_ledger.deployed_release()', 'execute')"
RELEASE = "select record_ledger.deployed_release()"
ROLES = """
select wanted.role, r.oid is not null,
    r.oid is not null and pg_has_role(r.oid, 'member')
from unnest(array['record_ledger_reader', 'record_ledger_runner']) as wanted (role)
left join pg_catalog.pg_roles as r on r.rolname = wanted.role
order by wanted.role
"""
RIGHTS = """
select
    has_schema_privilege('record_ledger', 'usage')
        and has_table_privilege('record_ledger.pipeline_progress', 'select'),
    has_schema_privilege('record_ledger', 'usage') and has_function_privilege(
        'record_ledger.store_new_and_pass_valid_record(jsonb, text, jsonb)', 'execute'
    ),
    pg_has_role(n.nspowner, 'usage')
from pg_catalog.pg_namespace as n
where n.nspname = 'record_ledger'
"""
# Pipelines whose configs have returned more than once within an hour: see register_config.
CONFIGS_IN_TURN = """
select e.pipeline_id, count(*), string_agg(distinct e.actor, ', ' order by e.actor)
from record_ledger.pipeline_events as e
where e.event_time > record_ledger.clock() - interval '1 hour'
    and e.detail ->> 'same_config_as_version' is not null
group by e.pipeline_id
having count(*) > 1
order by e.pipeline_id
"""
# Every six hours finds each change of a zone's offset that lasts longer, in the coming two years.
ZONE_OFFSETS = """
select p.timezone, i.instant,
    extract(
        epoch from (i.instant at time zone p.timezone) - (i.instant at time zone 'UTC')
    )::integer
from (select distinct q.timezone from record_ledger.pipelines as q) as p
cross join generate_series(
    date_trunc('day', pg_catalog.clock_timestamp()),
    pg_catalog.clock_timestamp() + interval '731 days',
    interval '6 hours'
) as i (instant)
order by p.timezone, i.instant
"""

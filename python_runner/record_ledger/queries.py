"""Every SQL text that the runner sends, and nothing else; that of a method bears its name.

The texts are constants: values are bound by the driver, never formatted in. Connectors of `moving`
have the texts that they send to their own databases.
"""

# ruff: noqa: S105, S608 - no text holds a password, and what is put together here are constants

from __future__ import annotations

# ---------------------------------------------------------------- the cycle
# The answer comes as one object: to read from the function as from a table, column by column, would
# take a tenth longer where there is nothing to pass.
STORE_NEW_AND_PASS_VALID_RECORD = """
select pg_catalog.to_json(
    record_ledger.store_new_and_pass_valid_record(%s::jsonb, %s::text, %s::jsonb)
)
"""
PASS_VALID_RECORDS = """
select pg_catalog.to_json(
    record_ledger.pass_valid_records(%s::jsonb, %s::text, %s::integer, %s::jsonb)
)
"""
PASS_VALID_RECORD = """
select pg_catalog.to_json(a), record_ledger.stretch_timezone(
    %(pipeline_id)s::text, (a.record ->> 'window_start_time')::timestamptz
)
from record_ledger.pass_valid_record(%(pipeline_id)s::text, %(run_id)s::text) as a
"""
REGISTER_PIPELINE = "select record_ledger.register_pipeline(%s::jsonb)"
STORE_NEW_RECORDS = "call record_ledger.store_new_records(%s::text, %s::jsonb, 0)"
OLDEST_PENDING_RECORD = """
select o.record, record_ledger.stretch_timezone(
    o.record ->> 'pipeline_id', (o.record ->> 'window_start_time')::timestamptz
)
from (select record_ledger.oldest_pending_record(%s::text) as record) as o
"""

# ---------------------------------------------------------------- the end of a claim
COMPLETE_RECORD = """
select record_ledger.complete_record(%s::text, %s::bigint, %s::jsonb, %s::timestamptz)
"""
COMPLETE_AND_PASS = """
select pg_catalog.to_json(
    record_ledger.complete_and_pass(%s::text, %s::bigint, %s::text, %s::jsonb, %s::timestamptz)
)
"""
# By a caller who has not been passed a record of the pipeline by its config, and knows no zone.
COMPLETE_AND_PASS_ANYWHERE = """
select pg_catalog.to_json(a), record_ledger.stretch_timezone(
    %(pipeline_id)s::text, (a.record ->> 'window_start_time')::timestamptz
)
from record_ledger.complete_and_pass(
    %(pipeline_id)s::text,
    %(claim_token)s::bigint,
    %(run_id)s::text,
    %(detail)s::jsonb,
    %(window_start_time)s::timestamptz
) as a
"""
COMPLETE_RECORDS = """
select c.claim_token, c.outcome, c.reason
from record_ledger.complete_records(
    %s::text, %s::bigint[], %s::text[]::jsonb[], %s::timestamptz[]
) as c
"""
FAIL_RECORD = """
select record_ledger.fail_record(%s::text, %s::bigint, %s::text, %s::boolean, %s::timestamptz)
"""
RELEASE_RECORD = """
select record_ledger.release_record(%s::text, %s::bigint, %s::timestamptz, %s::timestamptz)
"""
# One statement says both: work that is kept alive learns in the same round trip that it is to stop.
# It looks as of its beginning: a cancellation that it waited for is reported by the next one.
EXTEND_LEASE = """
select e.lease_expires_at, s.state, s.reason, s.cancelled_by, p.timezone as view_timezone,
    pg_catalog.jsonb_build_object('lease_expires_at', e.lease_expires_at at time zone p.timezone)
        as wall_times
from record_ledger.extend_lease(
    %(pipeline_id)s::text, %(claim_token)s::bigint, %(window_start_time)s::timestamptz
) as e (lease_expires_at)
cross join record_ledger.claim_state(%(pipeline_id)s::text, %(claim_token)s::bigint) as s
left join record_ledger.pipelines as p on p.pipeline_id = %(pipeline_id)s::text
"""
CLAIM_STATE = """
select s.state, s.reason, s.cancelled_by
from record_ledger.claim_state(%s::text, %s::bigint) as s
"""

# ---------------------------------------------------------------- the archive
ARCHIVE_RECORDS = "select record_ledger.archive_records(%s::text, %s::timestamptz, %s::integer)"

# ---------------------------------------------------------------- times as people write them
PIPELINE_TIME = "select record_ledger.pipeline_time(%s::text, %s::text)"
WINDOW_TIME = "select record_ledger.window_time(%s::text, %s::text)"

# ---------------------------------------------------------------- readers
# Each row carries the wall clock of its times as the server computes it, because Python's time zone
# data may be of another year: in the zone that its window was cut with, or in its pipeline's where
# it has no window or one that is not stored.
_WALL_TIMES = """
    (
        select pg_catalog.jsonb_object_agg(
            t.key, (t.value #>> '{}')::timestamptz at time zone z.timezone
        )
        from (select /* zone */ as timezone offset 0) as z
        cross join lateral pg_catalog.jsonb_each(pg_catalog.to_jsonb(v)) as t
        where t.key = any (%(time_columns)s::text[]) and t.value <> 'null'::jsonb
    ) as wall_times
"""
_STRETCH = "record_ledger.stretch_timezone(p.pipeline_id, v.window_start_time)"
# What the times of a row are in: the pipeline's zone, or that which its window was cut with, as the
# view says it or as it is looked up for a window that is stored.
_ZONES = {"pipeline": "p.timezone", "cut with": "v.window_timezone", "stretch": _STRETCH}
_OF_WINDOW = "(%(instant)s::timestamptz is null or v.window_start_time = %(instant)s::timestamptz)"


def with_wall_times(text: str, zone: str = "pipeline") -> str:
    """Returns a reader's text with its marks filled in.

    `zone` is what each row's times are in: a key of _ZONES, or an expression.
    """
    zone = _ZONES.get(zone, zone)
    text = text.replace("/* wall_times */", _WALL_TIMES.replace("/* zone */", zone))
    return text.replace("/* of_window */", _OF_WINDOW)


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
OLDEST_VALID_RECORD = with_wall_times(
    """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.oldest_valid_record as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where %(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text
order by v.pipeline_id
""",
    "cut with",
)
RECORD_VERDICTS = with_wall_times(
    """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.record_verdicts as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where (%(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text)
    and (%(instant)s::timestamptz is null or v.window_start_time = %(instant)s::timestamptz)
order by v.pipeline_id, v.window_start_time
limit %(limit)s::integer
""",
    "cut with",
)
PIPELINE_RECORDS = with_wall_times(
    """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.pipeline_records as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where v.pipeline_id = %(pipeline_id)s::text and /* of_window */
order by v.window_start_time
limit %(limit)s::integer
""",
    "cut with",
)
RECORD_EVENTS = with_wall_times(
    """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.record_events as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where v.pipeline_id = %(pipeline_id)s::text and /* of_window */
order by v.window_start_time, v.event_no
""",
    "stretch",
)
# Up to 18 digits: a longer number is another's, and no bigint.
LAST_RUN_NUMBER = """
select coalesce(
    pg_catalog.max(
        pg_catalog.substr(e.run_id, pg_catalog.length(%(prefix)s::text) + 1)::bigint
    ),
    0
)
from record_ledger.record_events as e
where e.pipeline_id = %(pipeline_id)s::text
    and pg_catalog.starts_with(e.run_id, %(prefix)s::text)
    and pg_catalog.substr(e.run_id, pg_catalog.length(%(prefix)s::text) + 1) ~ '^[1-9][0-9]{0,17}$'
"""
PLAN_RUNS = with_wall_times(
    """
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
""",
    f"case when v.is_stored then {_STRETCH} else p.timezone end",
)
ARCHIVABLE_RECORDS = with_wall_times("""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.archivable_records(
    %(pipeline_id)s::text, %(before)s::timestamptz, %(max_records)s::integer
) as v
left join record_ledger.pipelines as p on p.pipeline_id = %(pipeline_id)s::text
""")
ARCHIVED_RECORDS = with_wall_times(
    """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.archived_records as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where v.pipeline_id = %(pipeline_id)s::text and /* of_window */
order by v.window_start_time
limit %(limit)s::integer
""",
    "cut with",
)
ARCHIVED_RECORD_EVENTS = with_wall_times(
    """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.archived_record_events as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where v.pipeline_id = %(pipeline_id)s::text and /* of_window */
order by v.window_start_time, v.event_no
""",
    "stretch",
)
RECORDS_AS_OF = with_wall_times(
    """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.records_as_of(%(instant)s::timestamptz) as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where %(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text
order by v.pipeline_id, v.window_start_time
""",
    "stretch",
)
COUNTS_AS_OF = """
select v.pipeline_id, v.status, pg_catalog.count(*)
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

PIPELINES_BEHIND = """
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

# ---------------------------------------------------------------- what is counted of a record
# Windows are sent as text: without an offset by the clock that they were cut with, which the server
# knows.
_WINDOW = "record_ledger.window_time(%(pipeline_id)s::text, %(window_start_time)s::text)"

OBSERVE_RECORD = f"""
select record_ledger.observe_record(
    %(pipeline_id)s::text,
    {_WINDOW},
    %(stage)s::text,
    %(row_count)s::bigint,
    %(detail)s::jsonb,
    %(claim_token)s::bigint
)
"""
ADOPT_OBSERVATIONS = """
select record_ledger.adopt_observations(
    %(pipeline_id)s::text,
    %(claim_token)s::bigint,
    %(stage)s::text,
    %(window_start_time)s::timestamptz
)
"""
WAIVE_COUNTS = f"""
select record_ledger.waive_counts(%(pipeline_id)s::text, {_WINDOW}, %(reason)s::text)
"""
_READER = """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.{view} as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where v.pipeline_id = %(pipeline_id)s::text and /* of_window */
order by v.window_start_time, v.observation_no
"""
RECORD_OBSERVATIONS = with_wall_times(_READER.replace("{view}", "record_observations"), "stretch")
ARCHIVED_RECORD_OBSERVATIONS = with_wall_times(
    _READER.replace("{view}", "archived_record_observations"), "stretch"
)

# ---------------------------------------------------------------- at risk, late, changed, sealed
RECORDS_AT_RISK = with_wall_times(
    """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.records_at_risk as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where (%(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text)
    and (v.is_at_risk or not %(only_at_risk)s::boolean)
order by v.source_kept_until, v.pipeline_id
limit %(limit)s::integer
""",
    "cut with",
)
RECOUNT_DUE = with_wall_times(
    """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.recount_due(%(pipeline_id)s::text) with ordinality as v
left join record_ledger.pipelines as p on p.pipeline_id = %(pipeline_id)s::text
order by v.ordinality
""",
    "stretch",
)
CHANGED_RECORDS = with_wall_times(
    """
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.changed_records as v
join record_ledger.pipelines as p on p.pipeline_id = v.pipeline_id
where %(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text
order by v.pipeline_id, v.window_start_time
""",
    "cut with",
)
# No times of the clock, and numbers that JSON has: a sum of counts may be more than a bigint.
PIPELINE_LATENESS = """
select
    v.pipeline_id,
    v.recount_age,
    v.x_time_back,
    v.window_count,
    v.late_window_count,
    pg_catalog.to_jsonb(v.row_count) as row_count,
    v.min_lateness,
    v.max_lateness,
    v.missed_share::float8,
    v.worst_missed_share::float8,
    null::text as view_timezone,
    null::jsonb as wall_times
from record_ledger.pipeline_lateness as v
where %(time_columns)s::text[] is not null
    and (%(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text)
order by v.pipeline_id, v.recount_age
"""
SUGGEST_X_TIME_BACK = """
select
    v.x_time_back,
    v.missed_share::float8,
    v.window_count,
    v.reason,
    null::text as view_timezone,
    null::jsonb as wall_times
from record_ledger.suggest_x_time_back(%(pipeline_id)s::text, %(max_missed)s::numeric) as v
where %(time_columns)s::text[] is not null
"""
IS_DAY_SEALED = "select record_ledger.is_day_sealed(%s::text, %s::date)"
DAILY_COVERAGE = with_wall_times("""
select v.*, /* wall_times */
from record_ledger.daily_coverage as v
cross join lateral (select v.timezone) as p
where (%(pipeline_id)s::text is null or v.pipeline_id = %(pipeline_id)s::text)
    and (%(from_date)s::date is null or v.local_date >= %(from_date)s::date)
    and (%(to_date)s::date is null or v.local_date <= %(to_date)s::date)
order by v.pipeline_id, v.local_date
""")
REOPEN_CHANGED_RECORDS = "select record_ledger.reopen_changed_records(%(pipeline_id)s::text)"

# ---------------------------------------------------------------- what operators do
# Times are sent as text: without an offset they are the pipeline's local time, which the server
# computes.
_FROM = "record_ledger.pipeline_time(%(pipeline_id)s::text, %(from_time)s::text)"
_TO = "record_ledger.pipeline_time(%(pipeline_id)s::text, %(to_time)s::text)"
_ON_RANGE = f"(%(pipeline_id)s::text, {_FROM}, {_TO}, %(reason)s::text)"

WAIVE_RECORDS = f"select record_ledger.waive_records{_ON_RANGE}"
REOPEN_RECORDS = f"select record_ledger.reopen_records{_ON_RANGE}"
EXPIRE_LEASES = f"select record_ledger.expire_leases{_ON_RANGE}"
CANCEL_RECORDS = f"select record_ledger.cancel_records{_ON_RANGE}"
BACKFILL_RECORDS = f"""
select record_ledger.backfill_records(%(pipeline_id)s::text, {_FROM}, %(reason)s::text)
"""
# What a backfill is to add is cut with the zone in force.
_ZONE_OF_EFFECT = """
    case
        when %(operation)s::text = 'backfill' and v.effect = 'changed' then p.timezone
        else record_ledger.stretch_timezone(p.pipeline_id, v.first_window_start_time)
    end
"""
RANGE_EFFECTS = with_wall_times(
    f"""
select v.*, p.timezone as view_timezone, /* wall_times */
from record_ledger.range_effects(
    %(operation)s::text,
    %(pipeline_id)s::text,
    {_FROM},
    case when %(to_time)s::text is not null then {_TO} end
) with ordinality as v
left join record_ledger.pipelines as p on p.pipeline_id = %(pipeline_id)s::text
order by v.ordinality
""",
    _ZONE_OF_EFFECT,
)

# ---------------------------------------------------------------- steps of a long way
# Where one call would hold up the pipeline's runs for long.
RANGE_STEP = f"""
select s.changed_count, record_ledger.local_time(s.go_on_from, p.timezone), s.next_max_records
from record_ledger.range_step(
    %(operation)s::text,
    %(pipeline_id)s::text,
    {_FROM},
    case when %(to_time)s::text is not null then {_TO} end,
    %(reason)s::text,
    %(max_records)s::integer
) as s
left join record_ledger.pipelines as p on p.pipeline_id = %(pipeline_id)s::text
"""

# ---------------------------------------------------------------- pipelines
PAUSE_PIPELINE = "select record_ledger.pause_pipeline(%(pipeline_id)s::text, %(reason)s::text)"
RESUME_PIPELINE = "select record_ledger.resume_pipeline(%(pipeline_id)s::text, %(reason)s::text)"
RETIRE_PIPELINE = "select record_ledger.retire_pipeline(%(pipeline_id)s::text, %(reason)s::text)"
SET_PIPELINE_OWNER = """
select record_ledger.set_pipeline_owner(%(pipeline_id)s::text, %(role)s::text)
"""

# ---------------------------------------------------------------- the connection
# In one round trip with what follows it. It is true of that transaction alone, without a session's
# state: each transaction begins with the default again.
READ_COMMITTED = "set transaction_isolation to 'read committed'"
DEFAULT_ISOLATION = "select pg_catalog.current_setting('default_transaction_isolation')"
# Who holds the locks that a call of ours waits for. A pooler announces a process id of its own: the
# call is then found by the user and the routine that it names.
BLOCKERS = """
with waiting as (
    select a.pid
    from pg_catalog.pg_stat_activity as a
    where a.usename = current_user and a.datname = pg_catalog.current_database()
        and a.wait_event_type = 'Lock'
        and (a.pid = %(pid)s::integer or a.query like %(routine)s::text)
    order by a.pid = %(pid)s::integer desc, a.query_start
    limit 1
)
select b.pid, a.usename::text, nullif(a.application_name, ''), a.state,
    extract(
        epoch from pg_catalog.clock_timestamp()
            - coalesce(a.state_change, a.xact_start, a.backend_start)
    )::float8
from (
    select distinct pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) as pid from waiting as w
) as b
left join pg_catalog.pg_stat_activity as a on a.pid = b.pid
order by b.pid
"""

# ---------------------------------------------------------------- deploy and doctor
IS_DEPLOYED = "select pg_catalog.to_regclass('record_ledger.deployment') is not null"
# Independent of DateStyle and TimeZone, so that the server reads what it wrote.
SERVER_TIME = """
select pg_catalog.to_char(
    pg_catalog.clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
)
"""
RELEASES_BEFORE = """
select d.release
from record_ledger.deployment as d
where d.deployed_at < %s::timestamptz
order by d.deployed_at, d.release
"""
MIGRATIONS_SINCE = """
select m.name
from record_ledger.migration as m
where m.applied_at >= %s::timestamptz
order by m.version
"""
# For the transaction: what a stranger has put into a schema of the user's path is not found.
PIN_NAMES = "set local search_path = pg_catalog, pg_temp"
MAY_CREATE_SCHEMA = """
select pg_catalog.quote_ident(current_user), pg_catalog.quote_ident(pg_catalog.current_database()),
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create')
"""
SERVER = """
select pg_catalog.current_setting('server_version_num')::integer, current_user,
    pg_catalog.current_database(), pg_catalog.clock_timestamp()
"""
# Where a default was set, as narrowly as it was: for the role in the database, the role, or the
# database; null where the server's configuration or the connection string has it.
_DEFAULT = """
select {columns} pg_catalog.current_setting('{setting}'), (
    select case
        when s.setrole <> 0::oid and s.setdatabase <> 0::oid then pg_catalog.format(
            'the role %I in database %I', current_user, pg_catalog.current_database()
        )
        when s.setrole <> 0::oid then pg_catalog.format('the role %I', current_user)
        else pg_catalog.format('the database %I', pg_catalog.current_database())
    end
    from pg_catalog.pg_db_role_setting as s
    cross join lateral pg_catalog.unnest(s.setconfig) as c (setting)
    where s.setdatabase in (
            0, (
                select d.oid
                from pg_catalog.pg_database as d
                where d.datname = pg_catalog.current_database()
            )
        )
        and s.setrole in (
            0, (select r.oid from pg_catalog.pg_roles as r where r.rolname = current_user)
        )
        and pg_catalog.split_part(c.setting, '=', 1) = '{setting}'
    order by s.setrole <> 0::oid desc, s.setdatabase <> 0::oid desc
    limit 1
)
"""
TAKES_WRITES = _DEFAULT.format(
    columns="pg_catalog.pg_is_in_recovery(),", setting="default_transaction_read_only"
)
ISOLATION = _DEFAULT.format(columns="", setting="default_transaction_isolation")
# Sessions that hold up runs: idle in a transaction that has locked something of the ledger, or
# blocking a session that waits. What others do may be hidden from this user; who blocks is not.
HOLDING_SESSIONS = """
with holding as (
    select distinct l.pid
    from pg_catalog.pg_locks as l
    join pg_catalog.pg_class as c on c.oid = l.relation
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    join pg_catalog.pg_stat_activity as a on a.pid = l.pid
    where n.nspname = 'record_ledger' and l.granted
        and l.database = (
            select d.oid
            from pg_catalog.pg_database as d
            where d.datname = pg_catalog.current_database()
        )
        and l.mode not in ('AccessShareLock')
        and a.state in ('idle in transaction', 'idle in transaction (aborted)')
        and a.state_change
            <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %(seconds)s::float8)
),

blocking as (
    select distinct pg_catalog.unnest(pg_catalog.pg_blocking_pids(l.pid)) as pid
    from pg_catalog.pg_locks as l
    join pg_catalog.pg_stat_activity as a on a.pid = l.pid
    where not l.granted and a.datname = pg_catalog.current_database()
        and l.waitstart
            <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %(seconds)s::float8)
)
select a.pid, a.usename::text, nullif(a.application_name, ''), a.state,
    extract(
        epoch from pg_catalog.clock_timestamp() - coalesce(a.state_change, a.xact_start)
    )::float8
from pg_catalog.pg_stat_activity as a
where a.pid in (select h.pid from holding as h union select b.pid from blocking as b)
    and a.pid <> pg_catalog.pg_backend_pid()
    and not exists (
        select from pg_catalog.pg_locks as l where l.pid = a.pid and not l.granted
    )
order by a.pid
"""
BACKEND = "select pg_catalog.pg_backend_pid()"
CAN_ASK_RELEASE = """
select pg_catalog.has_function_privilege('record_ledger.deployed_release()', 'execute')
"""
RELEASE = "select record_ledger.deployed_release()"
ROLES = """
select wanted.role, r.oid is not null,
    r.oid is not null and pg_catalog.pg_has_role(r.oid, 'member')
from pg_catalog.unnest(array['record_ledger_reader', 'record_ledger_runner']) as wanted (role)
left join pg_catalog.pg_roles as r on r.rolname = wanted.role
order by wanted.role
"""
# For a user who owns the ledger, or the database while there is none. As roles.sql says it.
ROLES_NOT_GRANTABLE = """
select pg_catalog.array_agg(r.rolname::text order by r.rolname),
    pg_catalog.quote_ident(current_user::text)
from pg_catalog.pg_roles as r
cross join pg_catalog.pg_roles as u
where r.rolname in ('record_ledger_reader', 'record_ledger_runner')
    and u.rolname = current_user
    and not u.rolsuper
    and not (
        u.rolcreaterole
        and pg_catalog.current_setting('server_version_num')::integer < 160000
    )
    and not pg_catalog.pg_has_role(u.oid, r.oid, 'member with admin option')
    and pg_catalog.pg_has_role(
        u.oid,
        coalesce(
            (select n.nspowner from pg_catalog.pg_namespace as n where n.nspname = 'record_ledger'),
            (
                select d.datdba
                from pg_catalog.pg_database as d
                where d.datname = pg_catalog.current_database()
            )
        ),
        'member'
    )
"""
SCHEMAS_BEFORE_THE_CATALOGUE = """
select p.schemas[1:pg_catalog.array_position(p.schemas, 'pg_catalog') - 1]
from (
    select pg_catalog.array_remove(
        pg_catalog.current_schemas(true)::text[],
        (pg_catalog.pg_my_temp_schema()::regnamespace)::text
    ) as schemas
) as p
"""
RIGHTS = """
select
    pg_catalog.has_schema_privilege('record_ledger', 'usage')
        and pg_catalog.has_table_privilege('record_ledger.pipeline_progress', 'select'),
    pg_catalog.has_schema_privilege('record_ledger', 'usage')
        and pg_catalog.has_function_privilege(
            'record_ledger.store_new_and_pass_valid_record(jsonb, text, jsonb)', 'execute'
        ),
    pg_catalog.pg_has_role(n.nspowner, 'usage')
from pg_catalog.pg_namespace as n
where n.nspname = 'record_ledger'
"""
# The publications of the ledger's tables, without those that each deploy writes itself. A partition
# counts as its table. One of all tables, or of the schema's, leaves none out, also one that has no
# partition yet, and lets none go. All of it may be read without any right.
PUBLICATIONS = """
with tables as (
    select c.oid, c.relname::text as name
    from pg_catalog.pg_class as c
    where c.relnamespace = pg_catalog.to_regnamespace('record_ledger')::oid
        and c.relkind in ('r', 'p')
        and not c.relispartition
), published as (
    select t.pubname::text as pubname, coalesce(r.relname::text, t.tablename::text) as name
    from pg_catalog.pg_publication_tables as t
    left join pg_catalog.pg_class as r
        on r.oid = pg_catalog.pg_partition_root(
            pg_catalog.to_regclass(pg_catalog.format('%I.%I', t.schemaname, t.tablename))
        )::oid
    where t.schemaname = 'record_ledger'
), whole as (
    select q.oid
    from pg_catalog.pg_publication as q
    where q.puballtables
    union
    select n.pnpubid
    from pg_catalog.pg_publication_namespace as n
    where n.pnnspid = pg_catalog.to_regnamespace('record_ledger')::oid
)
select pg_catalog.quote_ident(p.pubname), p.pubviaroot,
    p.pubinsert and p.pubupdate and p.pubdelete,
    p.oid in (select w.oid from whole as w),
    array(
        select t.name from tables as t
        where t.name not in ('deployment', 'migration')
            and p.oid not in (select w.oid from whole as w)
            and not exists (
                select from published as u where u.pubname = p.pubname and u.name = t.name
            )
        order by 1
    ),
    array(
        select distinct u.name from published as u
        where u.pubname = p.pubname and u.name in ('deployment', 'migration')
        order by 1
    )
from pg_catalog.pg_publication as p
where exists (select from published as u where u.pubname = p.pubname)
order by 1
"""
SUBSCRIPTIONS = """
select distinct s.subname::text, s.subenabled
from pg_catalog.pg_subscription as s
join pg_catalog.pg_subscription_rel as r on r.srsubid = s.oid
join pg_catalog.pg_class as c on c.oid = r.srrelid
where c.relnamespace = pg_catalog.to_regnamespace('record_ledger')::oid
order by 1
"""
REPLICATION_ROLE = "select pg_catalog.current_setting('session_replication_role')"
# Pipelines whose configs have returned more than once within an hour: see register_config.
CONFIGS_IN_TURN = """
select e.pipeline_id, pg_catalog.count(*),
    pg_catalog.string_agg(distinct e.actor, ', ' order by e.actor)
from record_ledger.pipeline_events as e
where e.event_time > record_ledger.clock() - interval '1 hour'
    and e.detail ->> 'same_config_as_version' is not null
group by e.pipeline_id
having pg_catalog.count(*) > 1
order by e.pipeline_id
"""
# Every six hours finds each change of a zone's offset that lasts longer, in the coming two years.
ZONE_OFFSETS = """
select p.timezone, i.instant,
    extract(
        epoch from (i.instant at time zone p.timezone) - (i.instant at time zone 'UTC')
    )::integer
from (select distinct q.timezone from record_ledger.pipelines as q) as p
cross join pg_catalog.generate_series(
    pg_catalog.date_trunc('day', pg_catalog.clock_timestamp()),
    pg_catalog.clock_timestamp() + interval '731 days',
    interval '6 hours'
) as i (instant)
order by p.timezone, i.instant
"""

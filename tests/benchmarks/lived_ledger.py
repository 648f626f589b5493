"""A ledger of a million records over a thousand pipelines, made in bulk with all their events.

What so many cycles would have left behind, without taking their time. Windows of an hour, up to
now; most records completed at once, some after a failure, a reopening or a waiver, the last ones
open.
"""

from __future__ import annotations

import json

from tests.support.databases import in_database, open_connection
from tests.support.server import Server

DATABASE = "bench_marts"

# A record's life by its number: which events, and what each left behind.
_LIVES = """
create schema bench;
create table bench.life (
    life text, event_no integer, event text, from_status text, to_status text, generation integer,
    attempt integer, pass_no integer, minutes integer, primary key (life, event_no)
);
insert into bench.life values
('plain', 1, 'passed', 'PENDING', 'IN_PROGRESS', 1, 1, 1, 61),
('plain', 2, 'completed', 'IN_PROGRESS', 'COMPLETED', 1, 1, 1, 66),
('failed once', 1, 'passed', 'PENDING', 'IN_PROGRESS', 1, 1, 1, 61),
('failed once', 2, 'failed', 'IN_PROGRESS', 'PENDING', 1, 1, 1, 62),
('failed once', 3, 'passed', 'PENDING', 'IN_PROGRESS', 1, 2, 2, 90),
('failed once', 4, 'completed', 'IN_PROGRESS', 'COMPLETED', 1, 2, 2, 200),
('reopened', 1, 'passed', 'PENDING', 'IN_PROGRESS', 1, 1, 1, 61),
('reopened', 2, 'completed', 'IN_PROGRESS', 'COMPLETED', 1, 1, 1, 64),
('reopened', 3, 'reopened', 'COMPLETED', 'PENDING', 2, 0, 1, 300),
('reopened', 4, 'passed', 'PENDING', 'IN_PROGRESS', 2, 1, 2, 301),
('reopened', 5, 'completed', 'IN_PROGRESS', 'COMPLETED', 2, 1, 2, 305),
('waived', 1, 'waived', 'PENDING', 'WAIVED', 1, 0, null, 70),
('failed', 1, 'passed', 'PENDING', 'IN_PROGRESS', 1, 1, 1, 61),
('failed', 2, 'failed', 'IN_PROGRESS', 'FAILED', 1, 1, 1, 62),
('in progress', 1, 'passed', 'PENDING', 'IN_PROGRESS', 1, 1, 1, 61);
create table bench.window_life as
select
    'p' || to_char(p, 'FM0000') as pipeline_id,
    n,
    moment.first_start + n * interval '1 hour' as start_time,
    -- Room for two passes of each record, in the order of the windows.
    (p * %(records)s + n) * 2 as first_token,
    case
        when n >= %(records)s - 3 then 'new'
        when n = %(records)s - 4 and p %% 10 = 0 then 'in progress'
        when n = %(records)s - 10 and p %% 25 = 0 then 'failed'
        when n %% 20 = 0 then 'failed once'
        when n %% 200 = 7 then 'waived'
        when n %% 500 = 9 then 'reopened'
        else 'plain'
    end as life
from (
    select date_trunc('hour', record_ledger.clock()) - %(records)s * interval '1 hour'
        as first_start
) as moment
cross join generate_series(0, %(pipelines)s - 1) as p
cross join generate_series(0, %(records)s - 1) as n
"""
_REGISTER = """
select count(record_ledger.register_pipeline(
    jsonb_set(%s::jsonb, '{default_record,pipeline_id}', to_jsonb(pipeline_id))
))
from (select distinct pipeline_id from bench.window_life) as p
"""
_FILL = """
insert into record_ledger.record (
    pipeline_id, window_start_time, window_end_time, previous_window_start_time, target_day, status,
    generation, attempt, claim_token, run_id, lease_expires_at, fields, config_version,
    event_count, last_event, last_detail, created_at, updated_at, lane, open_pipeline_id,
    is_historical
)
select w.pipeline_id, w.start_time, w.start_time + interval '1 hour',
    case when w.n > 0 then w.start_time - interval '1 hour' end,
    (w.start_time at time zone 'America/Los_Angeles')::date, s.status,
    coalesce(l.generation, 1), coalesce(l.attempt, 0),
    case when s.status <> 'PENDING' then w.first_token + l.pass_no end,
    case when s.status <> 'PENDING' then 'scheduled__' || w.first_token + l.pass_no end,
    case when s.status = 'IN_PROGRESS' then w.start_time + interval '9 hours' end,
    '{"source_name": "elasticsearch", "target_name": "snowflake"}', 1,
    coalesce(l.event_no, 0), l.event,
    case when l.event is not null then '{"rows": 1200}'::jsonb end,
    w.start_time + interval '1 hour', w.start_time + coalesce(l.minutes, 60) * interval '1 minute',
    lane.lane, case when lane.lane is not null then w.pipeline_id end,
    l.life is not distinct from 'reopened'
from bench.window_life as w
left join (
    select distinct on (life) * from bench.life order by life, event_no desc
) as l on l.life = w.life
cross join lateral (select coalesce(l.to_status, 'PENDING') as status) as s
cross join lateral record_ledger.lane(
    s.status, null, 1, l.event_no is null, l.life is not distinct from 'reopened'
) as lane (lane)
order by w.pipeline_id, w.n;
insert into record_ledger.claim
select w.pipeline_id, w.first_token + l.pass_no, w.start_time,
    'scheduled__' || w.first_token + l.pass_no, w.start_time, w.start_time
from bench.window_life as w
join bench.life as l on l.life = w.life and l.event = 'passed'
order by w.pipeline_id, w.n, l.pass_no;
insert into record_ledger.record_event (
    pipeline_id, window_start_time, event_no, event_time, event, from_status, to_status, generation,
    attempt, claim_token, run_id, detail
)
select w.pipeline_id, w.start_time, l.event_no, w.start_time + l.minutes * interval '1 minute',
    l.event, l.from_status, l.to_status, l.generation, l.attempt, w.first_token + l.pass_no,
    'scheduled__' || w.first_token + l.pass_no, '{"rows": 1200}'
from bench.window_life as w
join bench.life as l on l.life = w.life
-- As they came: from window to window, the pipelines side by side.
order by w.n, l.event_no, w.pipeline_id;
drop schema bench cascade
"""


def create(server: Server, pipelines: int, records: int) -> str:
    """Creates a ledger of `records` for each of so many pipelines; returns its database's dsn."""
    from record_ledger.server.deploy import deploy

    dsn = in_database(server.dsn(), DATABASE)
    config = {
        "timezone": "America/Los_Angeles",
        "x_time_back": "1h",
        "granularity": "1h",
        "default_record": {"source_name": "elasticsearch", "target_name": "snowflake"},
    }
    with open_connection(server.dsn()) as admin:
        admin.execute(f"create database {DATABASE}")  # type: ignore[arg-type]
    deploy(dsn)
    with open_connection(dsn) as connection:
        sizes = {"pipelines": pipelines, "records": records}
        connection.execute("set time zone 'UTC'")
        for statement in _LIVES.split(";"):
            connection.execute(statement, sizes if "%(" in statement else None)  # type: ignore[arg-type]
        connection.execute(_REGISTER, [json.dumps(config)])
        # Replica: neither foreign keys nor the ledger's triggers look at what is inserted.
        connection.execute("set session_replication_role = replica")
        for statement in _FILL.split(";"):
            connection.execute(statement)  # type: ignore[arg-type]
        connection.execute("vacuum analyze")
    return dsn

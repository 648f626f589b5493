"""Every SQL text that the PostgreSQL target sends; names are identifiers, values are bound.

Types, functions and operators have their schema: what a search_path puts before pg_catalog is not
asked.
"""

# ruff: noqa: S608 - what is put into these texts is text of this module

from __future__ import annotations

from psycopg.sql import SQL

# ---------------------------------------------------------------- what is kept of each window
CREATE_PUBLISHED = SQL("""
create table if not exists {published} (
    pipeline_id pg_catalog.text not null,
    window_start_time pg_catalog.timestamptz not null,
    claim_token bigint not null,
    generation integer,
    published_by bigint,
    digest pg_catalog.text,
    row_count bigint,
    published_at pg_catalog.timestamptz,
    constraint one_row_per_window primary key (pipeline_id, window_start_time)
)
""")
COMMENT_PUBLISHED = SQL("""
comment on table {published} is
'The newest claim of the record ledger on each window (claim_token), and what is published of it.'
""")
# Two that create at once would both find nothing there, and one of them would fail.
LOCK_CREATION = SQL("""
select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended({text}, 0))
""")
EXISTS = SQL("select pg_catalog.to_regclass({text}) is not null")

# ---------------------------------------------------------------- the published data
CREATE_TABLE = SQL("""
create table {table} (
    pipeline_id pg_catalog.text not null,
    window_start_time pg_catalog.timestamptz not null,
    document pg_catalog.jsonb not null
)
""")
CREATE_INDEX = SQL("create index on {table} (window_start_time, pipeline_id)")
_WINDOW = """
pipeline_id operator(pg_catalog.=) %(pipeline_id)s
    and window_start_time operator(pg_catalog.=) %(window_start_time)s::pg_catalog.timestamptz
"""
COUNT_WINDOW = SQL(f"select pg_catalog.count(*) from {{table}} where {_WINDOW}")
DELETE_WINDOW = SQL(f"delete from {{table}} where {_WINDOW}")
INSERT_DOCUMENTS = SQL("""
insert into {table} (pipeline_id, window_start_time, document)
select %(pipeline_id)s, %(window_start_time)s, l.document
from {loaded} as l
""")
# The columns' types decide how a document's values become theirs.
INSERT_COLUMNS = SQL("""
insert into {table} (pipeline_id, window_start_time, {columns})
select %(pipeline_id)s, %(window_start_time)s, {values}
from {loaded} as l
cross join lateral pg_catalog.jsonb_populate_record(null::{table}, {object}) as d
""")
OBJECT = SQL("pg_catalog.jsonb_build_object({pairs})")
PAIR = SQL("{column}, l.document operator(pg_catalog.#>) {path}")

# ---------------------------------------------------------------- claims
# A later claim's row stays as it is, and then there is no answer.
_BEGIN_CLAIM = """
insert into {published} as p (pipeline_id, window_start_time, claim_token)
values (%(pipeline_id)s, %(window_start_time)s, %(claim_token)s)
on conflict (pipeline_id, window_start_time) do update set claim_token = excluded.claim_token
where p.claim_token operator(pg_catalog.<=) excluded.claim_token
returning p.generation, p.published_by, p.digest
"""
BEGIN_CLAIM = SQL(_BEGIN_CLAIM)
# Planned and not done: refused where a right, or the key that the conflict is about, is missing.
PLAN_BEGIN_CLAIM = SQL(f"explain {_BEGIN_CLAIM}")
# No answer: a later claim has begun.
_NEWEST_CLAIM = f"""
select published_by, digest
from {{published}}
where {_WINDOW} and claim_token operator(pg_catalog.=) %(claim_token)s
"""
NEWEST_CLAIM = SQL(_NEWEST_CLAIM)
# Locks the row until the end of the transaction: a later claim that begins waits for it.
HOLD_CLAIM = SQL(f"{_NEWEST_CLAIM}for update")
NOTE_PUBLISHED = SQL(f"""
update {{published}}
set generation = %(generation)s, published_by = %(claim_token)s, digest = %(digest)s,
    row_count = %(row_count)s, published_at = pg_catalog.clock_timestamp()
where {_WINDOW}
""")

# ---------------------------------------------------------------- what is loaded, not published
LOADED_TABLES = SQL("""
select c.relname
from pg_catalog.pg_class as c
join pg_catalog.pg_namespace as n on n.oid operator(pg_catalog.=) c.relnamespace
where n.nspname operator(pg_catalog.=) %(schema)s and c.relkind operator(pg_catalog.=) 'r'
    and pg_catalog.starts_with(c.relname, %(prefix)s)
order by c.relname
""")
# Never read after a crash of the server, which leaves it empty: the count of its rows tells.
CREATE_LOADED = SQL("create unlogged table {loaded} (document pg_catalog.jsonb not null)")
# JSON holds neither of these two bytes: as quote and delimiter they leave each line as it is.
COPY_DOCUMENTS = SQL(r"""
copy {loaded} (document) from stdin (format csv, quote E'\x01', delimiter E'\x02', encoding 'UTF8')
""")
COUNT_LOADED = SQL("select pg_catalog.count(*) from {loaded}")
RENAME_LOADED = SQL("alter table {loaded} rename to {name}")
DROP_LOADED = SQL("drop table if exists {loaded}")
# A claim that was lost may still hold its table; what is left is dropped another time.
SHORT_LOCK_TIMEOUT = SQL("set local lock_timeout = '1s'")
STATEMENT_TIMEOUT = SQL("select pg_catalog.set_config('statement_timeout', %(timeout)s, true)")

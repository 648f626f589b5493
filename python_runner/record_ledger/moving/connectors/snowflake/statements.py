"""Every SQL text that the Snowflake target sends; names are put in, values are bound.

Names come from a definition, checked, or from `targets`. DDL commits by itself in Snowflake, so
none of it stands inside of a transaction here.
"""

from __future__ import annotations

# ---------------------------------------------------------------- what is kept of each window
CREATE_PUBLISHED = """
create table if not exists {published} (
    pipeline_id varchar not null,
    window_start_time timestamp_tz not null,
    claim_token number not null,
    generation number,
    published_by number,
    digest varchar,
    row_count number,
    published_at timestamp_tz
)
"""
CREATE_TABLE = """
create table if not exists {table} (
    pipeline_id varchar not null,
    window_start_time timestamp_tz not null,
    document variant not null
)
"""
# With its format: an account's timestamp_input_format decides what a text means without one.
START = "to_timestamp_tz(%(window_start_time)s, 'YYYY-MM-DD\"T\"HH24:MI:SS.FF6TZH:TZM')"
WINDOW = f"pipeline_id = %(pipeline_id)s and window_start_time = {START}"
COLUMNS = """
select lower(column_name), data_type, collation_name, character_maximum_length
from {database}information_schema.columns
where table_schema = {schema} and table_name = %(name)s
"""
COUNT_WINDOW = "select count(*) from {table} where {window}"
DELETE_WINDOW = "delete from {table} where {window}"
INSERT_WINDOW = """
insert into {table} (pipeline_id, window_start_time, {columns})
select %(pipeline_id)s, {start}, {values}
from {loaded}
"""

# ---------------------------------------------------------------- claims
# Snowflake keeps no key unique: two first claims may both leave a row, and the greatest counts.
BEGIN_CLAIM = """
merge into {published} as p
using (
    select
        %(pipeline_id)s as pipeline_id,
        {start} as window_start_time,
        %(claim_token)s as claim_token
) as c
on p.pipeline_id = c.pipeline_id and p.window_start_time = c.window_start_time
when matched and p.claim_token < c.claim_token then update set claim_token = c.claim_token
when not matched then insert (pipeline_id, window_start_time, claim_token)
values (c.pipeline_id, c.window_start_time, c.claim_token)
"""
# Locks the rows until the end of the transaction: a later claim that begins waits for it.
HOLD_CLAIM = """
update {published} set claim_token = %(claim_token)s
where {window} and claim_token = %(claim_token)s
"""
NEWEST_CLAIM = "select max(claim_token) from {published} where {window}"
PUBLISHED = """
select generation, published_by, digest
from {published}
where {window} and published_by is not null
order by published_by desc
limit 1
"""
NOTE_PUBLISHED = """
update {published}
set generation = %(generation)s, published_by = %(claim_token)s, digest = %(digest)s,
    row_count = %(row_count)s, published_at = current_timestamp()
where {window}
"""

# ---------------------------------------------------------------- what is loaded, not published
LOADED_TABLES = """
select table_name
from {database}information_schema.tables
where table_schema = {schema} and startswith(table_name, %(prefix)s)
"""
CREATE_LOADED = "create or replace transient table {loaded} (document variant not null)"
CREATE_STAGE = "create or replace temporary stage {loaded}"
PUT = (
    "put 'file://{path}' @{loaded} source_compression = gzip auto_compress = false overwrite = true"
)
COPY = """
copy into {loaded}
from @{stage}
{files}
file_format = (type = json)
on_error = abort_statement
"""
COUNT_LOADED = "select count(*) from {loaded}"
RENAME_LOADED = "alter table {loaded} rename to {name}"
DROP_LOADED = "drop table if exists {loaded}"

BEGIN, COMMIT, ROLLBACK = "begin", "commit", "rollback"
CANCEL = "select system$cancel_query(%(query_id)s)"

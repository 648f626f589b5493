-- record_ledger.local_time: an instant as people of a zone write it, ISO 8601 with the offset in force.
-- As the server reckons it: '2026-03-08T03:00:00-07:00'.
-- Read by: every sentence that names an instant.
-- Rules: none.
create or replace function record_ledger.local_time(instant timestamptz, timezone text)
returns text
language sql
immutable strict
as $$
    select
        to_char(t.wall, 'YYYY-MM-DD"T"HH24:MI:SS')
        || rtrim(rtrim(to_char(t.wall, '.US'), '0'), '.')
        || case when t.wall < t.utc then '-' else '+' end
        || to_char(greatest(t.wall - t.utc, t.utc - t.wall), 'HH24:MI')
    from (select instant at time zone local_time.timezone as wall, instant at time zone 'UTC' as utc) as t
$$;
comment on function record_ledger.local_time(timestamptz, text) is
'An instant in ISO 8601 with the zone''s offset at that instant.';

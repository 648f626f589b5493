-- record_ledger.enough_windows: from how many windows on lateness is told as a share.
-- Fewer say more about chance than about the source.
-- Read by: lateness, suggest_x_time_back.
-- Rules: none.
create or replace function record_ledger.enough_windows()
returns integer
language sql
immutable
as $$
    select 20
$$;
comment on function record_ledger.enough_windows() is
'From how many windows on lateness is told as a share.';

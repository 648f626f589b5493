-- record_ledger.enough_windows: how many windows lateness needs before it gives a share.
-- Fewer windows say more about chance than about the source.
-- Called by: lateness, suggest_x_time_back.
-- Uses: none.
-- Tests: test_lateness.py.
create or replace function record_ledger.enough_windows()
returns integer
language sql
immutable
as $$
    select 20
$$;
comment on function record_ledger.enough_windows() is
'How many windows lateness needs before it gives a share.';

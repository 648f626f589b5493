-- record_ledger.shortened: a text of max_bytes at most, with a mark that says how much is left out.
-- The ledger never refuses the report of a failure, however long it is. It keeps the beginning and the end, because a
-- traceback says at its end what went wrong.
-- Called by: attempt_ending, built_problem, config_problems, fail_record, no_records_reason, plan_runs, record_verdict.
-- Uses: none.
-- Tests: test_bounds.py.
create or replace function record_ledger.shortened(content text, max_bytes integer)
returns text
language plpgsql
immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    v_bytes constant integer := octet_length(content);
    v_kept integer;
    v_start text;
    v_end text;
begin
    if v_bytes <= max_bytes then
        return content;
    end if;
    -- In characters, each of at most four bytes; shorter characters leave some of the room unused.
    v_kept := (max_bytes - 64) / 4;
    v_start := left(content, v_kept / 2 * (1 + 3 * (v_bytes = length(content))::integer));
    v_end := right(content, v_kept / 2 * (1 + 3 * (v_bytes = length(content))::integer));
    return format(
        '%s [... %s bytes left out ...] %s',
        v_start, v_bytes - octet_length(v_start) - octet_length(v_end), v_end
    );
end
$$;
comment on function record_ledger.shortened(text, integer) is
'A text of max_bytes at most: its beginning, how many bytes are left out, and its end.';

-- record_ledger.local_time: an instant as people of a zone write it, ISO 8601 with the offset in force.
-- The server computes the offset: '2026-03-08T03:00:00-07:00'. Fractions of a second appear only where there are any.
-- Every sentence that names an instant takes it from here. Types are exact (docs/design.md, Names).
-- Called by: the Python runner, dbt, archivable_records, archive_records, backfill_range, cancel_range, check_backfill,
--   check_counts, claim_loss, collect_expired_leases, expire_range, json_time, next_answer, plan_runs, postponement,
--   raise_no_record, reopen_changed_records, twofold_time, unbuilt_reason, waive_counts, waive_lost_records,
--   window_time.
-- Uses: none.
-- Tests: test_record_shape.py, test_zones.py.
create or replace function record_ledger.local_time(instant timestamptz, timezone text)
returns text
language plpgsql
immutable strict
as $$
declare
    v_wall timestamp := instant at time zone local_time.timezone;
    v_offset interval := v_wall - (instant at time zone 'UTC');
begin
    return to_char(v_wall, 'YYYY-MM-DD"T"HH24:MI:SS')
        || rtrim(rtrim(to_char(v_wall, '.US'), '0'), '.')
        || case when v_offset < interval '0' then '-' else '+' end
        || to_char(
            greatest(v_offset, -v_offset),
            -- Offsets of the nineteenth century have seconds.
            case
                when extract(second from v_offset) = 0::numeric then 'HH24:MI'
                else 'HH24:MI:SS'
            end
        );
end
$$;
comment on function record_ledger.local_time(timestamptz, text) is
'An instant in ISO 8601 with the zone''s offset at that instant.';

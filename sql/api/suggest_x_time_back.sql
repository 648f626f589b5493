-- record_ledger.suggest_x_time_back: the shortest measured x_time_back that misses no more than a share of the rows.
-- It is the present x_time_back when that suffices. Otherwise it is how long after a window's end the counts of the
-- first sufficient recount age came. Rows later than the last age were never counted, so the answer is null then, as
-- with too few windows.
-- It is never shorter than the present one: a shorter one was never measured.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: enough_windows, lateness, raise_unknown_pipeline, time_interval.
-- Tests: test_lateness.py.
create or replace function record_ledger.suggest_x_time_back(
    pipeline_id text,
    max_missed numeric default 0,
    out x_time_back interval,
    out missed_share numeric,
    out window_count bigint,
    out reason text
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    p record_ledger.pipeline;
    v_found record;
begin
    if suggest_x_time_back.max_missed between 0 and 1 is not true then
        raise exception 'max_missed: % is not a share; give a number from 0 to 1, such as 0.001',
            coalesce(left(suggest_x_time_back.max_missed::text, 80), 'null')
            using errcode = 'RL005';
    end if;
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = suggest_x_time_back.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(suggest_x_time_back.pipeline_id);
    end if;
    for v_found in select l.* from record_ledger.lateness(p) as l loop
        suggest_x_time_back.missed_share := v_found.missed_share;
        suggest_x_time_back.window_count := v_found.window_count;
        if v_found.missed_share is null then
            reason := format(
                '%s windows were counted when they became stable%s and at the last recount age; '
                '%s are needed',
                v_found.window_count,
                case
                    when v_found.recount_age > interval '0' then ', at age '
                        || record_ledger.time_interval(
                            'epoch', timestamptz 'epoch' + v_found.recount_age
                        )
                end,
                record_ledger.enough_windows()
            );
            return;
        end if;
        exit when v_found.is_last;
        if v_found.missed_share <= suggest_x_time_back.max_missed then
            -- Rounded up to the whole minute: 26h3m17.4s is not a sensible x_time_back.
            suggest_x_time_back.x_time_back := case
                when v_found.recount_age = interval '0' then p.x_time_back
                else ceil(extract(epoch from v_found.max_lateness) / 60) * interval '1 minute'
            end;
            reason := format(
                '%s of the rows of %s windows came later than %s after the window''s end',
                trim_scale(round(100 * v_found.missed_share, 4)) || ' %',
                v_found.window_count,
                record_ledger.time_interval(
                    'epoch', timestamptz 'epoch' + suggest_x_time_back.x_time_back
                )
            );
            return;
        end if;
        reason := format(
            '%s of the rows of %s windows came later than the counts of age %s; '
            'no count is later than the last recount age: add a later one to recount_ages',
            trim_scale(round(100 * v_found.missed_share, 4)) || ' %',
            v_found.window_count,
            record_ledger.time_interval('epoch', timestamptz 'epoch' + v_found.recount_age)
        );
    end loop;
end
$$;
comment on function record_ledger.suggest_x_time_back(text, numeric) is
'The shortest measured x_time_back that misses no more than a share of the rows, from how many windows, and why: (x_time_back, missed_share, window_count, reason).';

-- record_ledger.counts_problem: why the counts of a claim do not suffice to complete its record; null when they do.
-- It compares the newest observation of each required stage that was written under this claim. Counts of an earlier
-- claim do not count before they are adopted: they say nothing about what came after that claim was lost. Each stage
-- may be off from the first one by the tolerance. Null when the config in force requires no counts.
-- Called by: check_counts, open_counts_problem.
-- Uses: adoptable_observations, count_tolerance.
-- Tests: test_required_counts.py, test_counts_model.py.
create or replace function record_ledger.counts_problem(
    pipeline_id text, window_start_time timestamptz, claim_token bigint
)
returns text
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    v_required jsonb;
begin
    select p.required_counts into v_required
    from record_ledger.pipeline as p
    where p.pipeline_id = counts_problem.pipeline_id;
    if v_required is null then
        return null;
    end if;
    return (
        with counted as (
            select
                s.stage_no,
                s.stage,
                o.row_count,
                e.row_count as earlier_count,
                abs(o.row_count - first_value(o.row_count) over stages) as off_by,
                record_ledger.count_tolerance(
                    v_required ->> 'tolerance', first_value(o.row_count) over stages
                ) as allowed
            from jsonb_array_elements_text(v_required -> 'stages')
                with ordinality as s (stage, stage_no)
            left join lateral (
                select n.row_count
                from record_ledger.record_observation as n
                where n.pipeline_id = counts_problem.pipeline_id
                    and n.window_start_time = counts_problem.window_start_time
                    and n.claim_token = counts_problem.claim_token
                    and n.stage = s.stage
                order by n.observation_no desc
                limit 1
            ) as o on true
            left join record_ledger.adoptable_observations(
                counts_problem.pipeline_id,
                counts_problem.window_start_time,
                counts_problem.claim_token
            ) as e on e.stage = s.stage
            window stages as (order by s.stage_no)
        )
        select string_agg(
            c.stage || case
                when c.row_count is null and c.earlier_count is null
                    then ' not counted under this claim'
                when c.row_count is null
                    then format(
                        ' not counted under this claim (an earlier one counted %s, '
                        'which adopt_observations takes over)', c.earlier_count
                    )
                when c.off_by > c.allowed
                    then format(
                        ' %s (off by %s, tolerance %s%s)',
                        c.row_count,
                        c.off_by,
                        v_required ->> 'tolerance',
                        case
                            when position('%' in v_required ->> 'tolerance') > 0
                                then format(' = %s rows', trim_scale(c.allowed))
                        end
                    )
                else ' ' || c.row_count
            end, ', ' order by c.stage_no
        )
        from counted as c
        having bool_or(c.row_count is null or c.off_by > c.allowed)
    );
end
$$;
comment on function record_ledger.counts_problem(text, timestamptz, bigint) is
'Private. Why the counts of a claim do not suffice to complete its record, with the counts; null when they do, or none are required.';

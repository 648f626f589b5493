-- record_ledger.begin_stretch: records that windows from an instant onwards were cut with the zone in force.
-- The stretch ends where the next one begins, if there is one. Two neighbouring stretches of one zone become one. The
-- caller holds the pipeline's lock.
-- Called by: backfill_range, store_windows.
-- Uses: none.
-- Tests: test_zones.py.
create or replace function record_ledger.begin_stretch(
    p record_ledger.pipeline, from_time timestamptz
)
returns void
language plpgsql
as $$
declare
    v_before text;
    v_next record;
begin
    -- A stretch that began here before is cut again.
    delete from record_ledger.pipeline_zone as z
    where z.pipeline_id = p.pipeline_id and z.from_time = begin_stretch.from_time;
    select z.timezone into v_before
    from record_ledger.pipeline_zone as z
    where z.pipeline_id = p.pipeline_id and z.from_time < begin_stretch.from_time
    order by z.from_time desc
    limit 1;
    if v_before is distinct from p.timezone then
        select z.from_time, z.timezone into v_next
        from record_ledger.pipeline_zone as z
        where z.pipeline_id = p.pipeline_id and z.from_time > begin_stretch.from_time
        order by z.from_time
        limit 1;
        if v_next.timezone = p.timezone then
            update record_ledger.pipeline_zone as z
            set from_time = begin_stretch.from_time
            where z.pipeline_id = p.pipeline_id and z.from_time = v_next.from_time;
        else
            insert into record_ledger.pipeline_zone (pipeline_id, from_time, timezone)
            values (p.pipeline_id, begin_stretch.from_time, p.timezone);
        end if;
    end if;
    -- After a backfill in another zone the newest windows are still those of an older one.
    update record_ledger.pipeline as q
    set zone_since = n.zone_since
    from (
        select
            case when z.timezone = p.timezone then z.from_time end as zone_since
        from record_ledger.pipeline_zone as z
        where z.pipeline_id = p.pipeline_id
        order by z.from_time desc
        limit 1
    ) as n
    where q.pipeline_id = p.pipeline_id and q.zone_since is distinct from n.zone_since;
end
$$;
comment on function record_ledger.begin_stretch(record_ledger.pipeline, timestamptz) is
'Private. Records that the windows from an instant onwards were cut with the zone in force.';

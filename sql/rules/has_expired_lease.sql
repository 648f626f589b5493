-- record_ledger.has_expired_lease: does a record of the pipeline wait to be taken back?
-- Then a pass has something to write even when it passes nothing.
-- Read by: pass_valid_record, store_new_and_pass_valid_record.
-- Rules: none.
create or replace function record_ledger.has_expired_lease(p record_ledger.pipeline, as_of timestamptz)
returns boolean
language plpgsql
stable
as $$
begin
    return exists (
        select
        from record_ledger.record as r
        where r.pipeline_id = p.pipeline_id and r.lane = 'active'
            and r.window_start_time >= coalesce(
                (
                    select c.active_mark
                    from record_ledger.claim as c
                    where c.pipeline_id = p.pipeline_id
                    order by c.claim_token desc
                    limit 1
                ),
                '-infinity'
            )
            and r.lease_expires_at <= as_of
    );
end
$$;
comment on function record_ledger.has_expired_lease(record_ledger.pipeline, timestamptz) is
'Private. Whether a record of the pipeline has an expired lease that no pass has collected yet.';

-- record_ledger.set_pipeline_owner: gives a pipeline to a role; from then on only its members act in it.
-- Its members register its config, are passed its records, end their claims, count, and operate; all others may only
-- read. null gives the pipeline back to all runners. Returns whether the call changed anything.
--   the role that registered it  may give a pipeline without an owner to a role that it is a member of
--   members of its owner         may give it to a role that they are members of, or back to all
--   owners of the ledger         may do both, with any role
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: append_pipeline_event, clock, lock_pipeline, may_act.
-- Tests: test_pipeline_owners.py.
create or replace function record_ledger.set_pipeline_owner(pipeline_id text, role text)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    -- A claim that a run is ending goes first, or is judged by the new owner. Refuses callers who may not act in it
    -- now.
    p record_ledger.pipeline := record_ledger.lock_pipeline(set_pipeline_owner.pipeline_id);
    v_now timestamptz := record_ledger.clock();
    v_registered_by text;
begin
    if to_regrole(quote_ident(set_pipeline_owner.role)) is null
        and set_pipeline_owner.role is not null
    then
        raise exception 'role: "%" is not a role of this server; give the name of one, or null',
            left(set_pipeline_owner.role, 80) using errcode = 'RL005';
    end if;
    if p.owner_role is not distinct from set_pipeline_owner.role then
        return false;
    end if;
    select e.actor into v_registered_by
    from record_ledger.pipeline_event as e
    where e.pipeline_id = p.pipeline_id
    order by e.event_no
    limit 1;
    if p.owner_role is null and not record_ledger.may_act(v_registered_by) then
        raise exception
            'permission denied: pipeline "%" was registered by %, and % is not a member of it',
            p.pipeline_id, quote_ident(v_registered_by), session_user
            using errcode = '42501',
            hint = 'Only the role that registered the pipeline, or the ledger''s owner, may give '
                'it to a role.';
    end if;
    if not record_ledger.may_act(coalesce(set_pipeline_owner.role, p.owner_role)) then
        raise exception 'permission denied: % is not a member of role %',
            session_user, quote_ident(set_pipeline_owner.role)
            using errcode = '42501',
            hint = 'Give it to a role that you are a member of, or ask the ledger''s owner.';
    end if;
    update record_ledger.pipeline as q
    set owner_role = set_pipeline_owner.role, updated_at = v_now
    where q.pipeline_id = p.pipeline_id;
    -- A completion reads the pipeline only where the record says so.
    if set_pipeline_owner.role is not null then
        update record_ledger.record as r
        set needs_counts = true
        where r.open_pipeline_id = p.pipeline_id and r.lane = 'active' and not r.needs_counts;
    end if;
    perform record_ledger.append_pipeline_event(
        p.pipeline_id,
        'owner_set',
        jsonb_build_object(
            'owner_role', set_pipeline_owner.role, 'owner_role_before', p.owner_role
        ),
        v_now
    );
    return true;
end
$$;
comment on function record_ledger.set_pipeline_owner(text, text) is
'Gives a pipeline to a role: only its members act in it then. null gives it back to all runners. Returns whether that is new.';

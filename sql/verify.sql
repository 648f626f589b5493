-- record_ledger verify: raises unless every public object is there and described.
-- The last step of every deploy: every public object exists, or the deploy is rolled back.
-- Applied by: every deploy; every role may run it again.
-- Rules: public_objects() is the list.
do $$
declare
    v_missing text;
begin
    select string_agg(format('%s %s', o.kind, o.object), ', ' order by o.kind, o.object)
    into v_missing
    from (
        select
            q.kind,
            q.object,
            case q.kind when 'view' then 'pg_class' else 'pg_proc' end as catalogue,
            case q.kind
                when 'view' then to_regclass('record_ledger.' || q.object)::oid
                else to_regprocedure('record_ledger.' || q.object)::oid
            end as id
        from record_ledger.public_objects() as q
    ) as o
    where obj_description(o.id, o.catalogue) is null;
    if v_missing is not null then
        raise exception 'the ledger is not whole: % missing or without description', v_missing
            using errcode = 'RL006';
    end if;
end
$$;

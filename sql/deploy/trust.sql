-- record_ledger trust: refuses (RL006) to build on what a stranger made, and acts as the ledger's owner from here on.
-- It checks the schema, takes the locks that the deploy needs, and checks what depends on the tables. It refuses a
-- ledger that lacks tables, too.
-- Applied by: every deploy, after strangers.sql, in which the rule stands whom a deploy trusts.
-- Rules: the deploy calls and writes nothing of the schema before this; all of a ledger belongs to one role.
do $$
declare
    v_user text := current_user;
    v_named text := nullif(current_setting('record_ledger.owner', true), '');
    v_found json := nullif(current_setting('record_ledger.strangers', true), '')::json;
    v_owner text;
    v_object record;
    v_waits_for text := 'schema record_ledger';
    v_relation oid;
    v_holders text;
    v_applied integer;
    v_missing text;
    v_text text;
begin
    if v_named is not null and to_regrole(quote_ident(v_named)) is null then
        raise exception 'deploy refused: role %, the owner that was asked for, does not exist',
            v_named
            using errcode = 'RL006', hint = format('Have an administrator run: create role %I',
                v_named);
    end if;
    if v_named is not null and not pg_has_role(v_user, v_named, 'member') then
        raise exception 'deploy refused: % may not act as %, the owner that was asked for',
            v_user, v_named
            using errcode = 'RL006', hint = format('Have an administrator run: grant %I to %I',
                v_named, v_user);
    end if;

    -- ---------------------------------------------------------------- whose schema it is
    if v_found ->> 'owner' is null then
        begin
            execute format(
                'create schema record_ledger authorization %I', coalesce(v_named, v_user)
            );
        exception
            when duplicate_schema or unique_violation then
                raise exception
                    'deploy refused: schema record_ledger was created by another session meanwhile'
                    using errcode = 'RL006', hint = 'Deploy again: its owner is looked at then.';
        end;
        v_owner := coalesce(v_named, v_user);
    else
        v_owner := v_found ->> 'owner';
        if not (v_found ->> 'owner_is_trusted')::boolean then
            raise exception 'deploy refused: schema record_ledger belongs to role %, which %',
                v_owner,
                case (select r.rolsuper from pg_roles as r where r.rolname = v_user)
                    when true then 'is neither a superuser nor the owner of the database'
                    else format(
                        case
                            when pg_has_role(v_user, v_owner, 'member')
                                then '%s is a member of by the grant of a role that it cannot trust'
                            else '%s is not a member of'
                        end,
                        v_user
                    )
                end
                using errcode = 'RL006', hint = format(
                    'If the ledger is to belong to %1$s, deploy as %1$s, or name it: record-ledger '
                    'deploy --owner %2$L. If it is not, and nothing in the schema is needed, have '
                    'an administrator run: drop schema record_ledger cascade. Then deploy again.',
                    v_owner, v_owner
                );
        end if;
    end if;
    if (v_found ->> 'problem_count')::integer > 0 then
        raise exception
            'deploy refused: schema record_ledger holds what another role can change: %',
            (v_found ->> 'problems') || case
                when (v_found ->> 'problem_count')::integer > 20
                    then format('; and %s more', (v_found ->> 'problem_count')::integer - 20)
                else ''
            end
            using errcode = 'RL006', hint = format(
                'Have an administrator drop what is not needed, give the rest to %s (alter ... '
                'owner to %I), and deploy again. If there is no ledger yet: drop schema '
                'record_ledger cascade.', v_owner, v_owner
            );
    end if;

    -- ---------------------------------------------------------------- one owner
    -- A superuser who upgraded a ledger of another role has left its own objects there: they would run as superuser.
    if v_named is not null and v_owner <> v_named then
        execute format('alter schema record_ledger owner to %I', v_named);
        v_owner := v_named;
    end if;
    for v_object in
        select
            format('table record_ledger.%I', c.relname) as name,
            pg_get_userbyid(c.relowner) as owner
        from pg_class as c
        where c.relnamespace = to_regnamespace('record_ledger')
            and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
            and c.relowner <> to_regrole(quote_ident(v_owner))
            -- A sequence that belongs to a column goes with its table.
            and not exists (
                select
                from pg_depend as d
                where d.classid = 'pg_class'::regclass and d.objid = c.oid
                    and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
                    and c.relkind = 'S'
            )
        union all
        select format('routine %s', p.oid::regprocedure), pg_get_userbyid(p.proowner)
        from pg_proc as p
        where p.pronamespace = to_regnamespace('record_ledger') and p.prokind in ('f', 'p', 'w')
            and p.proowner <> to_regrole(quote_ident(v_owner))
        union all
        select format('type %s', t.oid::regtype), pg_get_userbyid(t.typowner)
        from pg_type as t
        left join pg_class as c on c.oid = t.typrelid
        where t.typnamespace = to_regnamespace('record_ledger')
            and (t.typrelid = 0 and t.typelem = 0 or c.relkind = 'c')
            and t.typowner <> to_regrole(quote_ident(v_owner))
    loop
        v_waits_for := v_object.name;
        begin
            execute format('alter %s owner to %I', v_object.name, v_owner);
        exception
            when insufficient_privilege then
                raise exception 'deploy refused: % belongs to role %, and the ledger to %',
                    v_object.name, v_object.owner, v_owner
                    using errcode = 'RL006', hint = format(
                        'Have a superuser deploy once: all of the ledger then belongs to %s.',
                        v_owner
                    );
        end;
    end loop;
    if v_owner <> v_user then
        begin
            execute format('set local role %I', v_owner);
        exception
            when insufficient_privilege then
                raise exception 'deploy refused: the ledger belongs to %, and % may not act as it',
                    v_owner, v_user
                    using errcode = 'RL006', hint = format(
                        'Have an administrator run: grant %I to %I', v_owner, v_user
                    );
        end;
    end if;

    -- ---------------------------------------------------------------- is it a ledger, all of it
    if exists (
        select
        from pg_class as c
        where c.oid = to_regclass('record_ledger.migration') and c.relkind = 'r'
            and 3 = (
                select count(*)
                from pg_attribute as a
                where a.attrelid = c.oid and a.attname in ('version', 'name', 'checksum')
                    and not a.attisdropped
            )
    ) then
        select max(m.version) into v_applied from record_ledger.migration as m;
    end if;
    if v_applied is null then
        select string_agg(o.name, ', ' order by o.name) into v_missing
        from (
            select pg_describe_object(d.classid, d.objid, 0) as name
            from pg_depend as d
            where d.refclassid = 'pg_namespace'::regclass
                and d.refobjid = to_regnamespace('record_ledger')
            order by 1
            limit 20
        ) as o;
        if v_missing is not null then
            raise exception
                'deploy refused: schema record_ledger is not empty and holds no ledger: %',
                v_missing
                using errcode = 'RL006', hint = 'If nothing in it is needed: drop schema '
                'record_ledger cascade. If it is, move it to another schema. Then deploy again.';
        end if;
    else
        select string_agg(t.name, ', ' order by t.name) into v_missing
        from (
            values
            (1, 'deployment'), (1, 'pipeline'), (1, 'pipeline_event'), (1, 'record'),
            (1, 'record_event'), (1, 'claim'), (3, 'archived_record'),
            (3, 'archived_record_event'), (4, 'record_observation'),
            (4, 'archived_record_observation')
        ) as t (since, name)
        where t.since <= v_applied
            and not exists (
                select
                from pg_class as c
                where c.oid = to_regclass('record_ledger.' || t.name) and c.relkind in ('r', 'p')
            );
        if v_missing is not null then
            raise exception 'deploy refused: the ledger is not whole: table % missing from schema '
                'record_ledger', v_missing
                using errcode = 'RL006', hint = 'Restore the schema from a backup. To begin with '
                'an empty ledger: drop schema record_ledger cascade, and deploy again.';
        end if;
    end if;

    -- ---------------------------------------------------------------- the locks, before anything is changed
    -- Without a migration no table that passes write is locked: passes continue beside a deploy. The deploy's own two
    -- tables are locked: a trigger that another session creates there would run in it. A pass locks its pipeline first
    -- and then records: in another order it and a migration would wait for each other.
    for v_object in
        select c.oid, c.relname, c.relkind
        from pg_class as c
        where c.relnamespace = to_regnamespace('record_ledger') and c.relkind in ('r', 'p', 'v')
            and not c.relispartition
            and (
                c.relkind = 'v' or c.relname in ('migration', 'deployment')
                or v_applied < current_setting('record_ledger.migrations')::integer
            )
        order by c.relname <> 'pipeline', c.relname <> 'record', c.relkind = 'v', c.relname
    loop
        v_waits_for := format(
            '%s record_ledger.%I',
            case v_object.relkind when 'v' then 'view' else 'table' end,
            v_object.relname
        );
        v_relation := v_object.oid;
        if v_object.relkind = 'v' then
            -- This changes nothing. `lock` on a view would lock its tables too, against readers.
            execute format('alter view record_ledger.%I owner to %I', v_object.relname, v_owner);
        else
            execute format(
                'lock table record_ledger.%I in %s mode',
                v_object.relname,
                case
                    when v_object.relname in ('migration', 'deployment') then 'share row exclusive'
                    else 'access exclusive'
                end
            );
        end if;
    end loop;

    -- ---------------------------------------------------------------- checks that a stranger's operator was bound into
    -- A deploy of 0.4.0 or older took `numeric = integer` from any schema of the deployer's path, permanently.
    for v_object in
        select distinct k.oid, k.conname, k.conrelid::regclass as relation
        from pg_constraint as k
        inner join pg_depend as d on d.classid = 'pg_constraint'::regclass and d.objid = k.oid
        where k.connamespace = to_regnamespace('record_ledger')
            and k.contype = 'c' and k.conrelid <> 0 and k.coninhcount = 0
            and (
                d.refclassid = 'pg_operator'::regclass
                or d.refclassid = 'pg_proc'::regclass
                and d.refobjid not in (
                    select p.oid from pg_proc as p where p.pronamespace = k.connamespace
                )
            )
    loop
        v_text := pg_get_constraintdef(v_object.oid);
        for v_missing in
            select distinct quote_ident(n.nspname) || '.'
            from pg_depend as d
            left join pg_operator as o
                on d.refclassid = 'pg_operator'::regclass and o.oid = d.refobjid
            left join pg_proc as p
                on d.refclassid = 'pg_proc'::regclass and p.oid = d.refobjid
            inner join pg_namespace as n on n.oid = coalesce(o.oprnamespace, p.pronamespace)
            where d.classid = 'pg_constraint'::regclass and d.objid = v_object.oid
        loop
            v_text := replace(v_text, v_missing, '');
        end loop;
        execute format(
            'alter table %s drop constraint %I, add constraint %I %s',
            v_object.relation, v_object.conname, v_object.conname, v_text
        );
    end loop;
exception
    when lock_not_available then
        select string_agg(
            coalesce(
                format(
                    'process %s of user %s, application %L%s',
                    l.pid,
                    coalesce(a.usename, 'unknown'),
                    coalesce(a.application_name, ''),
                    ', since ' || to_char(
                        coalesce(a.xact_start, a.state_change) at time zone 'UTC',
                        'YYYY-MM-DD"T"HH24:MI:SS"Z"'
                    )
                ),
                'a prepared transaction (pg_prepared_xacts)'
            ), '; '
        )
        into v_holders
        from (
            select distinct k.pid
            from pg_locks as k
            where k.locktype = 'relation' and k.granted and k.relation = v_relation
                and k.database = (
                    select d.oid from pg_database as d where d.datname = current_database()
                )
                and k.pid is distinct from pg_backend_pid()
        ) as l
        left join pg_stat_activity as a on a.pid = l.pid;
        raise exception 'deploy refused: % was not free within %; it is in use by %',
            v_waits_for,
            current_setting('lock_timeout'),
            coalesce(v_holders, 'a session that has ended meanwhile')
            using errcode = 'RL006', hint = 'Wait until it is done, and deploy again, or have an '
            'administrator end it: select pg_terminate_backend(PID).';
end
$$;

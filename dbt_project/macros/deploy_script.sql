{# Generated from sql/ by `uv run python -m tests.support.deploy_macro`: change the files there. #}
{% macro deploy_script() -%}
{% raw %}
begin isolation level read committed;
-- record_ledger session: how the transaction of a deploy reads names, and that it is the only one.
-- Read first by every deploy script, before any name is looked up.
-- Applied by: the script that `record-ledger deploy` runs (and `record-ledger deploy --print-sql` prints).
-- Rules: one deploy at a time; a deploy waits for a limited time, and says for whom.

-- A function or an operator in a schema of the caller's path could else fit better than the catalogue's, and run as
-- the deployer. Temporary objects come last: unnamed, they would come first.
set local search_path = pg_catalog, pg_temp;
-- What waits for a lock has to see, after it, what others committed meanwhile.
set transaction isolation level read committed, read write;

do $$
declare
    v_holders text;
    v_key integer := hashtext('record_ledger');
    v_deploy integer := hashtext('deploy');
begin
    -- Anyone who can connect can take this lock and keep it. A limit that the caller has set is the limit.
    if current_setting('lock_timeout') = '0' then
        set local lock_timeout = '30s';
    end if;
    -- Two deploys at once would both find migration 1 missing and both create its tables.
    perform pg_advisory_xact_lock(v_key, v_deploy);
    -- An analyst's long query on a view must not make this deploy, and every query queued behind it, wait for hours.
    if current_setting('lock_timeout') = '30s' then
        set local lock_timeout = '15s';
    end if;
exception
    when lock_not_available then
        select string_agg(
            format(
                'process %s of user %s, application %L%s',
                l.pid,
                coalesce(a.usename, 'unknown'),
                coalesce(a.application_name, ''),
                ', since ' || to_char(
                    coalesce(a.xact_start, a.state_change) at time zone 'UTC',
                    'YYYY-MM-DD"T"HH24:MI:SS"Z"'
                )
            ), '; '
        )
        into v_holders
        from pg_locks as l
        left join pg_stat_activity as a on a.pid = l.pid
        where l.locktype = 'advisory' and l.granted and l.objsubid = 2
            and l.database = (
                select d.oid from pg_database as d where d.datname = current_database()
            )
            and l.classid = v_key::oid and l.objid = v_deploy::oid;
        raise exception
            'deploy refused: its lock was not free within %; it is held by %',
            current_setting('lock_timeout'),
            coalesce(v_holders, 'a session that has ended meanwhile')
            using errcode = 'RL006', hint = 'If that is a deploy, wait until it is done, and '
            'deploy again. If it is not, an administrator may end it: '
            'select pg_terminate_backend(PID).';
end
$$;

-- Objects are applied in the order of their names, so a function may call one that comes after it.
set local check_function_bodies = off;
set local client_min_messages = warning;
set local record_ledger.owner = '';
set local record_ledger.migrations = 10;
-- record_ledger roles: creates the two roles, and says what the deployer cannot do about them.
-- Roles belong to the whole server: another database's deploy may have made them.
-- Applied by: every deploy, as the user who deploys, before it acts as the ledger's owner.
-- Rules: a deploy goes on without the roles, and without the right to grant them.
do $$
declare
    v_role text;
    v_not_ours text[] := '{}';
begin
    foreach v_role in array array['record_ledger_reader', 'record_ledger_runner'] loop
        if to_regrole(v_role) is null then
            begin
                execute format('create role %I nologin', v_role);
            exception
                when insufficient_privilege then
                    raise warning
                        'role % does not exist and % may not create it: nothing is granted to it. '
                        'Have an administrator run `create role % nologin`, and deploy again.',
                        v_role, current_user, v_role;
                when duplicate_object or unique_violation then
                    -- Another database was deployed at the same time.
                    null;
            end;
        end if;
        if not exists (
            select
            from pg_roles as u
            where u.rolname in (current_user, session_user)
                and (
                    u.rolsuper
                    -- Before 16 this is the right to grant any role.
                    or u.rolcreaterole and current_setting('server_version_num')::integer < 160000
                    or pg_has_role(u.oid, to_regrole(v_role), 'member with admin option')
                )
        ) and to_regrole(v_role) is not null then
            v_not_ours := v_not_ours || v_role;
        end if;
    end loop;
    if cardinality(v_not_ours) > 0 then
        raise warning
            '% may not grant % to users: another deployer of this server made them. '
            'Have an administrator run `grant % to % with admin option`.',
            current_user,
            array_to_string(v_not_ours, ' and '),
            array_to_string(v_not_ours, ', '),
            quote_ident(current_user);
    end if;
end
$$;
-- record_ledger strangers: who owns the schema, and what in it or on it belongs to a role that the user cannot trust.
-- One statement, which reads the catalogue only and calls nothing of the schema. Its answer is JSON, and stays in the
-- setting record_ledger.strangers until the transaction ends. Run it with search_path = pg_catalog, pg_temp.
-- Read by: every deploy before it touches the schema, and again as its last step; `record-ledger doctor`.
-- Rules: trusted are superusers, the schema's owner (who is judged apart) and the user. An ordinary user trusts the
-- roles it is a member of as well. A superuser is a member of every role: it trusts superusers, and a ledger that
-- belongs to the database's owner.
-- A membership counts that was granted by a superuser, by the user, or by a role that may act as the user anyway.
-- Who is granted a role is not asked: a stranger who administers one could make everybody a member of it.
select set_config(
    'record_ledger.strangers',
    (
        with recursive me as (
            select
                r.oid,
                r.rolsuper
            from pg_roles as r
            where r.rolname = current_user
        ),

        ledger_schema as (
            select
                n.oid,
                n.nspowner,
                n.nspacl
            from pg_namespace as n
            where n.nspname = 'record_ledger'
        ),

        -- Who has which role by a grant that the user can trust.
        memberships (role_oid, member_oid) as (
            select
                m.roleid,
                m.member
            from pg_auth_members as m
            inner join pg_roles as g on g.oid = m.grantor
            cross join me
            where pg_has_role(g.oid, me.oid, 'member')
                or m.grantor = m.member
                -- Before 16 this is the right to grant the user's own role.
                or g.rolcreaterole and current_setting('server_version_num')::integer < 160000
            union all
            select
                r.oid,
                d.datdba
            from pg_database as d
            inner join pg_roles as r on r.rolname = 'pg_database_owner'
            where d.datname = current_database()
        ),

        member_of (role_oid) as (
            select me.oid
            from me
            union
            select m.role_oid
            from member_of as o
            inner join memberships as m on m.member_oid = o.role_oid
        ),

        -- Roles whose objects the user takes for its own.
        mine as (
            select r.oid
            from pg_roles as r
            cross join me
            where r.oid in (select m.role_oid from member_of as m)
                or me.rolsuper and r.rolsuper
                -- Named by the deployer: trust.sql judges whether the user may act as it.
                or r.rolname = current_setting('record_ledger.owner', true)
        ),

        -- Roles that the whole ledger may belong to.
        may_own as (
            select m.oid
            from mine as m
            union
            select r.oid
            from pg_roles as r
            cross join me
            where me.rolsuper and (
                r.rolname = 'pg_database_owner'
                or r.oid = (
                    select d.datdba
                    from pg_database as d
                    where d.datname = current_database()
                )
            )
        ),

        -- Roles that may have objects in a schema whose owner is trusted: what superusers left there is given to it.
        trusted as (
            select m.oid
            from mine as m
            union
            select r.oid
            from pg_roles as r
            where r.rolsuper
            union
            select s.nspowner
            from ledger_schema as s
        ),

        -- Everything that a role can own in a schema, but for what follows its table: indexes and row types.
        owned (classid, objid, schema_oid, owner_oid) as (
            select
                'pg_class'::regclass,
                c.oid,
                c.relnamespace,
                c.relowner
            from pg_class as c
            where c.relkind not in ('i', 'I', 't', 'c')
            union all
            select
                'pg_proc'::regclass,
                p.oid,
                p.pronamespace,
                p.proowner
            from pg_proc as p
            union all
            select
                'pg_type'::regclass,
                t.oid,
                t.typnamespace,
                t.typowner
            from pg_type as t
            left join pg_class as c on c.oid = t.typrelid
            where (t.typrelid = 0 or c.relkind = 'c')
                and not exists (
                    select
                    from pg_type as e
                    where e.typarray = t.oid
                )
            union all
            select
                'pg_operator'::regclass,
                o.oid,
                o.oprnamespace,
                o.oprowner
            from pg_operator as o
            union all
            select
                'pg_opclass'::regclass,
                o.oid,
                o.opcnamespace,
                o.opcowner
            from pg_opclass as o
            union all
            select
                'pg_opfamily'::regclass,
                o.oid,
                o.opfnamespace,
                o.opfowner
            from pg_opfamily as o
            union all
            select
                'pg_collation'::regclass,
                c.oid,
                c.collnamespace,
                c.collowner
            from pg_collation as c
            union all
            select
                'pg_conversion'::regclass,
                c.oid,
                c.connamespace,
                c.conowner
            from pg_conversion as c
            union all
            select
                'pg_statistic_ext'::regclass,
                s.oid,
                s.stxnamespace,
                s.stxowner
            from pg_statistic_ext as s
            union all
            select
                'pg_ts_config'::regclass,
                t.oid,
                t.cfgnamespace,
                t.cfgowner
            from pg_ts_config as t
            union all
            select
                'pg_ts_dict'::regclass,
                t.oid,
                t.dictnamespace,
                t.dictowner
            from pg_ts_dict as t
            union all
            select
                'pg_extension'::regclass,
                e.oid,
                e.extnamespace,
                e.extowner
            from pg_extension as e
        ),

        -- The schema's objects, and what belongs to them: triggers, rules, policies, defaults, indexes.
        parts (classid, objid) as (
            select
                d.classid,
                d.objid
            from pg_depend as d
            where d.refclassid = 'pg_namespace'::regclass
                and d.refobjid = (select s.oid from ledger_schema as s)
            union
            select
                d.classid,
                d.objid
            from parts as p
            inner join pg_depend as d on d.refclassid = p.classid and d.refobjid = p.objid
            where d.deptype in ('a', 'i', 'P', 'S')
        ),

        problems (problem) as (
            select
                format(
                    '%s belongs to role %s',
                    pg_describe_object(o.classid, o.objid, 0), pg_get_userbyid(o.owner_oid)
                )
            from owned as o
            where o.schema_oid = (select s.oid from ledger_schema as s)
                and o.owner_oid not in (select t.oid from trusted as t)
            union
            -- Views, checks and routines are made anew by every deploy, before anything uses them.
            select
                format(
                    '%s uses %s, which belongs to role %s',
                    pg_describe_object(p.classid, p.objid, 0),
                    pg_describe_object(o.classid, o.objid, 0),
                    pg_get_userbyid(o.owner_oid)
                )
            from parts as p
            inner join pg_depend as d on d.classid = p.classid and d.objid = p.objid
            inner join owned as o on o.classid = d.refclassid and o.objid = d.refobjid
            left join pg_rewrite as w on p.classid = 'pg_rewrite'::regclass and w.oid = p.objid
            left join pg_class as v on v.oid = w.ev_class
            where p.classid in (
                    'pg_trigger'::regclass, 'pg_rewrite'::regclass, 'pg_policy'::regclass,
                    'pg_attrdef'::regclass, 'pg_class'::regclass
                )
                and d.deptype = 'n'
                and v.relkind is distinct from 'v'
                and o.owner_oid not in (select t.oid from trusted as t)
            union
            select
                format(
                    '%s, which belongs to role %s, refers to %s',
                    pg_describe_object('pg_constraint'::regclass, f.oid, 0),
                    pg_get_userbyid(c.relowner),
                    pg_describe_object('pg_class'::regclass, f.confrelid, 0)
                )
            from pg_constraint as f
            inner join pg_class as r on r.oid = f.confrelid
            inner join ledger_schema as s on s.oid = r.relnamespace
            inner join pg_class as c on c.oid = f.conrelid
            where f.contype = 'f' and c.relowner not in (select t.oid from trusted as t)
            union
            -- It could add a function while the deploy is under way, which fits a call better than the ledger's own.
            select
                format(
                    '%s may create objects in the schema '
                    '(revoke create on schema record_ledger from %s)',
                    g.named,
                    g.quoted
                )
            from ledger_schema as s
            cross join lateral aclexplode(s.nspacl) as a
            cross join lateral (
                select
                    case a.grantee
                        when 0 then 'PUBLIC'
                        else 'role ' || pg_get_userbyid(a.grantee)
                    end as named,
                    case a.grantee
                        when 0 then 'public'
                        else quote_ident(pg_get_userbyid(a.grantee))
                    end as quoted
            ) as g
            where a.privilege_type = 'CREATE' and a.grantee not in (select t.oid from trusted as t)
        )

        select
            json_build_object(
                'owner', (select pg_get_userbyid(s.nspowner) from ledger_schema as s),
                'owner_is_trusted', (
                    select s.nspowner in (select m.oid from may_own as m)
                    from ledger_schema as s
                ),
                -- For doctor: a user who only works with the ledger takes it as it is.
                'owner_is_strange', (
                    select
                        s.nspowner not in (select m.oid from may_own as m)
                        and not o.rolsuper
                        and (me.rolsuper or pg_has_role(me.oid, d.datdba, 'member'))
                    from ledger_schema as s
                    inner join pg_roles as o on o.oid = s.nspowner
                    cross join me
                    cross join pg_database as d
                    where d.datname = current_database()
                ),
                'problem_count', (select count(*) from problems),
                'problems', (
                    select string_agg(p.problem, '; ' order by p.problem)
                    from (select q.problem from problems as q
                order by q.problem limit 20) as p
                )
            )::text
    ),
    true
);
-- record_ledger trust: refuses (RL006) to build on what a stranger made, and acts as the ledger's owner from here on.
-- The schema, then the locks that the deploy will need, then what hangs on the tables; half a ledger is refused too.
-- Applied by: every deploy, after strangers.sql, in which the rule stands whom a deploy trusts.
-- Rules: nothing of the schema is called or written before this; all of a ledger belongs to one role.
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
    -- Without a migration no table that passes write is locked: they go on beside a deploy. The deploy's own two are:
    -- a trigger that is being created there would run in it. A pass locks its pipeline first and then records: in
    -- another order it and a migration would wait for each other.
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
            -- Changes nothing. A view that is locked by `lock` has its tables locked too, against readers.
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
    -- A deploy of 0.4.0 or older took `numeric = integer` from any schema of the deployer's path, for ever.
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
-- record_ledger.begin_deploy, migrate, end_deploy: what a deploy decides, so that psql and Python decide alike.
-- Read by every deploy script once the schema can be trusted; written to be applied again and again.
-- Called by: the script that `record-ledger deploy` runs (and `record-ledger deploy --print-sql` prints).
-- Rules: no step back to an older release, no edit of a released migration.

comment on schema record_ledger is
'The record ledger: which time window of which pipeline is next, settled, complete and free. Views and routines are public, tables private.';

create table if not exists record_ledger.migration (
    version integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default clock_timestamp(),
    applied_by text not null default session_user
);
comment on table record_ledger.migration is
'Private. One row per applied migration, with the checksum of its text.';

create table if not exists record_ledger.deployment (
    release text primary key,
    deployed_at timestamptz not null default clock_timestamp(),
    deployed_by text not null default session_user
);
comment on table record_ledger.deployment is
'Private. One row per release of record_ledger that was deployed here; the newest one is in force.';

create or replace function record_ledger.release_numbers(release text)
returns integer[]
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    -- '1.10.0rc1' counts as 1.10.0.
    select coalesce(
        string_to_array(substring(release from '^[0-9]+(?:[.][0-9]+)*'), '.')::integer[], '{}'
    )
$$;
comment on function record_ledger.release_numbers(text) is
'Private. The numbers of a release, which tell the older from the newer one.';

create or replace function record_ledger.begin_deploy(release text, newest_migration integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_newest_applied integer := (select max(m.version) from record_ledger.migration as m);
    v_newer_release text := (
        select d.release
        from record_ledger.deployment as d
        where record_ledger.release_numbers(d.release)
            > record_ledger.release_numbers(begin_deploy.release)
        order by record_ledger.release_numbers(d.release) desc
        limit 1
    );
begin
    if v_newest_applied > newest_migration then
        raise exception
            'deploy refused: the database is at migration %, newer than the % that release % knows',
            v_newest_applied, newest_migration, release
            using errcode = 'RL006', hint = 'Upgrade the record-ledger package and deploy again.';
    end if;
    if v_newer_release is not null then
        raise exception 'deploy refused: the database holds release %, newer than %',
            v_newer_release, release
            using errcode = 'RL006', hint = 'Upgrade the record-ledger package and deploy again.';
    end if;
end
$$;
comment on function record_ledger.begin_deploy(text, integer) is
'Private. Refuses a deploy (RL006) onto a database that a newer release has deployed.';

create or replace function record_ledger.migrate(version integer, name text, body text)
returns void
language plpgsql
-- The body finds the catalogue's names too, also called by hand from a session with another path.
set search_path = pg_catalog, pg_temp
as $$
declare
    -- A checkout on Windows may have turned the line ends; that is no edit.
    v_checksum text := encode(sha256(convert_to(replace(body, E'\r\n', E'\n'), 'UTF8')), 'hex');
    v_applied record_ledger.migration;
begin
    select m.* into v_applied from record_ledger.migration as m where m.version = migrate.version;
    if v_applied.checksum = v_checksum then
        return;
    end if;
    if v_applied.version is not null then
        raise exception 'deploy refused: migration % was edited after it had been applied here',
            name
            using errcode = 'RL006',
            detail = format('Applied at %s as %s with checksum %s; the file now has %s.',
                v_applied.applied_at, v_applied.name, v_applied.checksum, v_checksum),
            hint = 'Restore the released file and put the change into a new migration.';
    end if;
    if version <> (select coalesce(max(m.version), 0) + 1 from record_ledger.migration as m) then
        raise exception 'deploy refused: migration % is out of turn', name
            using errcode = 'RL006',
            hint = 'Migrations are numbered 1, 2, 3 ... and applied in that order.';
    end if;
    execute body;
    insert into record_ledger.migration (version, name, checksum)
    values (version, name, v_checksum);
end
$$;
comment on function record_ledger.migrate(integer, text, text) is
'Private. Applies a migration once; refuses (RL006) one whose text differs from what was applied.';

create or replace function record_ledger.end_deploy(release text)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
    insert into record_ledger.deployment (release)
    values (end_deploy.release)
    on conflict do nothing
$$;
comment on function record_ledger.end_deploy(text) is
'Private. Notes the release that was deployed.';
select record_ledger.begin_deploy('0.5.0', 10);
select record_ledger.migrate(1, '0001_tables', $body$-- record_ledger migration 1: the tables, their constraints and their indexes.
-- All of them are private: callers use the views and routines, and only the owner holds rights here.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: windows tile without gap or overlap, a status has what it needs, a run has one record.

-- ---------------------------------------------------------------- pipeline
create table record_ledger.pipeline (
    pipeline_id text primary key,
    -- What the caller registered, known keys only: compared with each call's config before anything is validated.
    config jsonb not null,
    config_version integer not null default 1,
    timezone text not null,
    -- Durations hold no day part: adding one to an instant is then elapsed time in every session's time zone.
    x_time_back interval not null,
    granularity interval not null,
    -- default_record without pipeline_id, templates unrendered.
    fields jsonb not null,
    has_templates boolean not null,
    check_fields text[] not null,
    start_at timestamptz,
    max_active_records integer,
    depends_on_past boolean not null,
    lease interval not null,
    max_attempts integer not null,
    retry_delay interval not null,
    paused_at timestamptz,
    paused_by text,
    pause_reason text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint durations_are_elapsed_time check (
        extract(day from x_time_back) = 0 and extract(day from granularity) = 0
        and extract(day from lease) = 0 and extract(day from retry_delay) = 0
    ),
    constraint a_paused_pipeline_says_who_and_why check (
        (paused_at is null) = (paused_by is null) and (paused_at is null) = (pause_reason is null)
    )
);
comment on table record_ledger.pipeline is
'Private. One row per pipeline: its config as given and as read. Its row lock orders all passes of the pipeline.';

create table record_ledger.pipeline_event (
    pipeline_id text not null references record_ledger.pipeline (pipeline_id),
    event_no integer not null,
    event_time timestamptz not null,
    event text not null,
    actor text not null default session_user,
    detail jsonb not null default '{}',
    primary key (pipeline_id, event_no)
);
comment on table record_ledger.pipeline_event is
'Private. Append-only: one row per change of a pipeline (registered, reconfigured).';

-- ---------------------------------------------------------------- record
create table record_ledger.record (
    pipeline_id text not null,
    window_start_time timestamptz not null,
    window_end_time timestamptz not null,
    -- Null only in the pipeline's first record. As a foreign key it chains every window to the one before it.
    previous_window_end_time timestamptz,
    target_day date not null,
    status text not null default 'PENDING',
    generation integer not null default 1,
    attempt integer not null default 0,
    -- Of the newest claim; null while the record is pending.
    claim_token bigint,
    run_id text,
    lease_expires_at timestamptz,
    -- Pending again after a failure, but not before this instant.
    retry_at timestamptz,
    fields jsonb not null default '{}',
    -- The config version the fields were built with; null when they were never built.
    config_version integer,
    -- Null when the record is complete.
    missing_fields text[],
    -- Incomplete, and templates of a newer config than the fields' may fill what is missing.
    awaits_build boolean not null default false,
    -- May be older than a record that was passed before this one could be: backfilled, or incomplete when stored.
    out_of_order boolean not null default false,
    event_count integer not null default 0,
    -- The newest event and its detail: record_event holds them all.
    last_event text,
    last_detail jsonb,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- Where an open record waits, as rule lane() says; null when it is finished (COMPLETED, WAIVED). Kept by the
    -- trigger check_record_change and by store_windows: a generated column would be parsed anew in every statement.
    lane text,
    -- The pipeline while the record is open, null when it is finished. Only the index of open records has this column:
    -- a look-up of open records by pipeline_id could also be planned, while the table is small, as a walk through the
    -- primary key, and a session would keep that plan while the table grows.
    open_pipeline_id text,
    constraint one_record_per_window_start primary key (pipeline_id, window_start_time),
    -- The end leads, so that a look-up by pipeline and start has no other index to go by than the primary key.
    constraint one_record_per_window_end unique (window_end_time, pipeline_id),
    constraint window_follows_the_previous_one
    foreign key (pipeline_id, previous_window_end_time)
    references record_ledger.record (pipeline_id, window_end_time),
    -- No other checks here: each is parsed anew in every statement, and every change of a row passes the trigger
    -- check_record_change, which knows what a status needs.
    constraint window_starts_where_the_previous_one_ends check (
        previous_window_end_time = window_start_time
    ),
    constraint window_ends_after_it_starts check (window_end_time > window_start_time)
);
comment on table record_ledger.record is
'Private. The ledger: one row per window of a pipeline. Read through pipeline_records.';

create unique index one_first_record_per_pipeline
on record_ledger.record (pipeline_id)
where previous_window_end_time is null;

-- The one index that passes, verdicts and counts of open records read. The lease is its last key so that expired
-- leases are told apart in the index itself.
create index open_records_by_lane
on record_ledger.record (open_pipeline_id, lane, window_start_time, lease_expires_at)
where open_pipeline_id is not null;

create table record_ledger.record_event (
    pipeline_id text not null,
    window_start_time timestamptz not null,
    event_no integer not null,
    event_time timestamptz not null,
    event text not null,
    from_status text not null,
    to_status text not null,
    generation integer not null,
    attempt integer not null,
    claim_token bigint,
    run_id text,
    actor text not null default session_user,
    detail jsonb not null,
    constraint one_event_per_number primary key (pipeline_id, window_start_time, event_no)
);
comment on table record_ledger.record_event is
'Private. Append-only: one row per change of a record, numbered per record. Read through record_events.';

-- ---------------------------------------------------------------- claim
create sequence record_ledger.claim_token_seq as bigint;
comment on sequence record_ledger.claim_token_seq is
'Private. Claim tokens: never drawn twice, and a later pass of a pipeline has a greater one.';

create table record_ledger.claim (
    pipeline_id text not null,
    claim_token bigint not null,
    window_start_time timestamptz not null,
    -- Set in the first claim of a run: the run is bound to this record for good.
    bound_run_id text,
    -- No record of the lane 'waiting' starts at or before this instant, as of this pass.
    waiting_mark timestamptz,
    -- No record in progress starts before this instant, as of this pass.
    active_mark timestamptz not null,
    constraint one_claim_per_token primary key (pipeline_id, claim_token)
);
create unique index one_record_per_run
on record_ledger.claim (pipeline_id, bound_run_id)
where bound_run_id is not null;
comment on table record_ledger.claim is
'Private. Append-only: one row per pass: which token is for which record, which run is bound to it,
and where the next pass may start to look. Marks live here, in rows that are never rewritten,
because an index on the records themselves keeps an entry for each version that an old snapshot can
still see: with an analyst''s query open for hours, a pass would step over every record finished
since.';
$body$);
select record_ledger.migrate(2, '0002_links_shares_retirement', $body$-- record_ledger migration 2: links that can be taken apart at their old end, backfill shares, retired pipelines.
-- What archiving, reopening, backfilling and retiring need to know of records and pipelines.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: each record but a pipeline's first follows the one that ends where it starts.

-- ---------------------------------------------------------------- pipeline
alter table record_ledger.pipeline
-- The least share of passes that backfilled and reopened records get while live ones wait too; the rest is theirs.
add column backfill_share numeric not null default 0,
-- Paused for good: no window is stored any more, and no status or alert speaks of it.
add column is_retired boolean not null default false,
add constraint a_retired_pipeline_is_paused check (not is_retired or paused_at is not null);

-- ---------------------------------------------------------------- record
alter table record_ledger.record disable trigger user;

alter table record_ledger.record
-- The record before this one, null only in the pipeline's first. The key that it is part of finds the next record by
-- its start: when old records go to the archive, nothing has to be searched for.
add column previous_window_start_time timestamptz,
-- Backfilled or reopened: work on the past, which shares the passes with live windows.
add column is_historical boolean not null default false;

update record_ledger.record as r
set previous_window_start_time = f.window_start_time
from record_ledger.record as f
where f.pipeline_id = r.pipeline_id and f.window_end_time = r.previous_window_end_time;

alter table record_ledger.record enable trigger user;

-- Takes the foreign key, the check, and the index of first records with it.
alter table record_ledger.record drop column previous_window_end_time;
alter table record_ledger.record drop constraint one_record_per_window_end;
alter table record_ledger.record
-- The end leads, so that a look-up by pipeline and start has no other index to go by than the primary key.
add constraint one_window_of_these_bounds unique (window_end_time, pipeline_id, window_start_time),
-- No gap and no overlap: starts are unique, so each record has one successor at most, and exactly one has no
-- predecessor. The successor's start is the predecessor's end, because it is the same column.
add constraint window_follows_the_previous_one
foreign key (pipeline_id, previous_window_start_time, window_start_time)
references record_ledger.record (pipeline_id, window_start_time, window_end_time);

create unique index one_first_record_per_pipeline
on record_ledger.record (pipeline_id)
where previous_window_start_time is null;

-- ---------------------------------------------------------------- claim
alter table record_ledger.claim
-- What backfilled and reopened records are owed of the passes, from 0 up to 1, after this pass.
add column historical_credit numeric not null default 0;
comment on column record_ledger.claim.historical_credit is
'Private. Grows by backfill_share per pass while both kinds wait; at 1 a historical record is due.';

-- ---------------------------------------------------------------- functions whose signature is another one now
drop function if exists record_ledger.lane(text, text[], boolean, integer, boolean);
drop function if exists record_ledger.next_answer(record_ledger.pipeline, text, timestamptz);
drop function if exists record_ledger.last_window_end(text);
$body$);
select record_ledger.migrate(3, '0003_archive', $body$-- record_ledger migration 3: the archive, where finished records go with their events.
-- Planned for a billion rows: partitioned by the year of the window, one index, columns of eight bytes first.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: only finished records are archived; a record is deleted only when the archive has it.

-- ---------------------------------------------------------------- archived_record
-- The columns of record that still mean something when it is finished. No foreign key chains the rows: they were
-- chained when they were moved, and archive_records goes on where it stopped.
create table record_ledger.archived_record (
    window_start_time timestamptz not null,
    window_end_time timestamptz not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    archived_at timestamptz not null,
    claim_token bigint,
    target_day date not null,
    generation integer not null,
    attempt integer not null,
    config_version integer,
    event_count integer not null,
    is_historical boolean not null,
    pipeline_id text not null,
    status text not null,
    run_id text,
    fields jsonb not null,
    missing_fields text[],
    last_event text,
    last_detail jsonb,
    constraint one_archived_record_per_window_start primary key (pipeline_id, window_start_time),
    constraint an_archived_record_is_finished check (status in ('COMPLETED', 'WAIVED')),
    constraint an_archived_window_ends_after_it_starts check (window_end_time > window_start_time)
) partition by range (window_start_time);
comment on table record_ledger.archived_record is
'Private. Append-only: one row per record that archive_records has moved here. Read through archived_records.';

-- ---------------------------------------------------------------- archived_record_event
create table record_ledger.archived_record_event (
    window_start_time timestamptz not null,
    event_time timestamptz not null,
    claim_token bigint,
    event_no integer not null,
    generation integer not null,
    attempt integer not null,
    pipeline_id text not null,
    event text not null,
    from_status text not null,
    to_status text not null,
    run_id text,
    actor text not null,
    detail jsonb not null,
    constraint one_archived_event_per_number primary key (pipeline_id, window_start_time, event_no)
) partition by range (window_start_time);
comment on table record_ledger.archived_record_event is
'Private. Append-only: the events of archived records. Read through archived_record_events.';

-- ---------------------------------------------------------------- triggers that refuse less now
-- Deleting what the archive has is legal: check_record_archived and check_events_archived judge deletes from now on,
-- and refuse_change, when this deploy comes to it, refuses to rewrite events only.
drop trigger if exists refuse_change on record_ledger.record;
drop trigger if exists refuse_change on record_ledger.record_event;
$body$);
select record_ledger.migrate(4, '0004_observations', $body$-- record_ledger migration 4: observations, and counts that must agree before a record is completed.
-- What was counted of a record, at which stage and under which claim; which stages a pipeline's config asks for.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: a count is never negative; observations are numbered per record.

-- ---------------------------------------------------------------- pipeline
alter table record_ledger.pipeline
-- {"stages": [...], "tolerance": "..."}; null when records are completed without counts.
add column required_counts jsonb;

-- ---------------------------------------------------------------- record
alter table record_ledger.record
-- False once a pass has found that the config asks for no counts: completing then looks up nothing. Never false while
-- the config in force asks for some.
add column needs_counts boolean not null default true,
-- Somebody has waived the counts of this generation.
add column counts_waived boolean not null default false;

alter table record_ledger.archived_record
add column counts_waived boolean not null default false;

-- ---------------------------------------------------------------- record_observation
create table record_ledger.record_observation (
    window_start_time timestamptz not null,
    observed_at timestamptz not null,
    row_count bigint not null,
    -- Current when the observation was written; null when it was made without a claim.
    claim_token bigint,
    observation_no integer not null,
    generation integer not null,
    -- The observation of an earlier claim that this one takes over.
    adopted_no integer,
    pipeline_id text not null,
    stage text not null,
    run_id text,
    actor text not null default session_user,
    detail jsonb not null,
    constraint one_observation_per_number primary key (
        pipeline_id, window_start_time, observation_no
    ),
    constraint a_count_is_not_negative check (row_count >= 0)
);
comment on table record_ledger.record_observation is
'Private. Append-only: one row per count of a record, numbered per record. Read through record_observations.';

-- The same columns in the same order: rows are moved and compared whole.
create table record_ledger.archived_record_observation (
    like record_ledger.record_observation,
    constraint one_archived_observation_per_number primary key (
        pipeline_id, window_start_time, observation_no
    )
) partition by range (window_start_time);
comment on table record_ledger.archived_record_observation is
'Private. Append-only: the observations of archived records. Read through archived_record_observations.';
$body$);
select record_ledger.migrate(5, '0005_retention_recounts', $body$-- record_ledger migration 5: how long source data is kept, and when finished windows are counted again.
-- What order by deadline, lost records, recounts and reopening by them need to know of a pipeline; the index that tells
-- records in backoff apart.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: durations are elapsed time; an order by deadline has deadlines.

alter table record_ledger.pipeline
-- How long after a window's end its source data is kept; null when nothing is said, and nothing is ever lost.
add column source_retention interval,
-- A record is at risk from this long before its source data goes; null without source_retention.
add column at_risk_within interval,
-- 'oldest' or 'deadline'.
add column pass_order text not null default 'oldest',
-- How long after its first count the source of a completed window is to be counted again, ascending.
add column recount_ages interval[] not null default '{01:00:00,24:00:00,168:00:00}',
-- How many records reopen_changed_records may reopen in one local day.
add column reopen_budget integer not null default 10,
add constraint retention_is_elapsed_time check (
    extract(day from source_retention) = 0 and extract(day from at_risk_within) = 0
),
add constraint an_order_by_deadline_has_deadlines check (
    pass_order = 'oldest' or pass_order = 'deadline' and source_retention is not null
);

-- ---------------------------------------------------------------- record_observation
alter table record_ledger.record_observation
-- Of a recount: a count of the source after completion. By how many rows it differs from the count that the completed
-- generation stands on, which is a fact from then on. Null for all others.
add column changed_by bigint;
alter table record_ledger.archived_record_observation add column changed_by bigint;

-- What recount_due looks through: the counts of the last days that are no recounts.
create index source_counts_by_time
on record_ledger.record_observation (pipeline_id, observed_at)
where stage = 'source' and changed_by is null;
-- How late data came, newest windows first. No other look-up has this predicate, so none is planned with this index
-- while the tables are small.
create index first_recounts_by_window
on record_ledger.record_observation (pipeline_id, window_start_time)
where changed_by is not null and generation = 1;
-- Few by nature, so that what has changed is found among any number of records.
create index recounts_that_differ
on record_ledger.record_observation (pipeline_id, window_start_time)
where changed_by <> 0;

-- ---------------------------------------------------------------- record
-- The backoff is a key, too, so that records in backoff are told apart in the index itself, as expired leases are.
drop index record_ledger.open_records_by_lane;
create index open_records_by_lane
on record_ledger.record (
    open_pipeline_id, lane, window_start_time, lease_expires_at, retry_at
)
where open_pipeline_id is not null;

-- ---------------------------------------------------------------- functions whose signature is another one now
drop function if exists record_ledger.lane_heads(text, timestamptz, timestamptz);
drop function if exists record_ledger.next_answer(record_ledger.pipeline, text, timestamptz);
drop function if exists record_ledger.next_candidate(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz, numeric, timestamptz
);
drop function if exists record_ledger.deciding_record(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz
);
drop function if exists record_ledger.retry_time(timestamptz, integer, interval);
drop function if exists record_ledger.status_after(text, text, boolean);
$body$);
select record_ledger.migrate(6, '0006_claims', $body$-- record_ledger migration 6: claim tokens, and how a claim ends.
-- Tokens are computed from the pipeline's newest one and the clock, so the sequence goes; a claim can be cancelled, and
-- a record given back until an instant.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: none; the trigger check_record_change keeps those of the new columns.

-- ---------------------------------------------------------------- record
alter table record_ledger.record
-- Who cancelled the claim of a record in progress, when and why; null otherwise.
add column cancellation jsonb,
-- Who gave a pending record back, and until when no run is passed it (retry_at); null when no such instant was named.
add column postponement jsonb;

-- ---------------------------------------------------------------- claim
-- Tokens drawn from it stay valid: those drawn from now on are greater. Only now, when no pass is under way any more:
-- one that has read records and draws its token next would wait for this deploy, which would wait for it.
drop sequence record_ledger.claim_token_seq;

-- ---------------------------------------------------------------- functions whose signature is another one now
drop function if exists record_ledger.complete_record(text, bigint, jsonb);
drop function if exists record_ledger.fail_record(text, bigint, text, boolean);
drop function if exists record_ledger.release_record(text, bigint);
drop function if exists record_ledger.extend_lease(text, bigint);
drop function if exists record_ledger.adopt_observations(text, bigint, text);
drop function if exists record_ledger.end_claim(text, bigint, text, jsonb, boolean);
drop function if exists record_ledger.raise_claim_lost(text, bigint);
drop function if exists record_ledger.next_answer(record_ledger.pipeline, text, timestamptz);
drop function if exists record_ledger.status_after(text, text, boolean, boolean);
drop function if exists record_ledger.is_read_committed();
$body$);
select record_ledger.migrate(7, '0007_zones', $body$-- record_ledger migration 7: the zone that windows were cut with.
-- One row per pipeline and stretch of windows; what older releases know of it stands in the events of pipelines.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: a stretch begins where its first window starts, and lasts until the next one begins.

-- ---------------------------------------------------------------- pipeline
alter table record_ledger.pipeline
-- All windows from this instant on were cut with the zone in force, so a pass looks nothing up. Null while the zone in
-- force has cut none: pipeline_zone then knows the zone of each.
add column zone_since timestamptz;

-- ---------------------------------------------------------------- pipeline_zone
create table record_ledger.pipeline_zone (
    pipeline_id text not null references record_ledger.pipeline (pipeline_id),
    -- The start of the first window that was cut with the zone.
    from_time timestamptz not null,
    timezone text not null,
    constraint one_zone_per_window_start primary key (pipeline_id, from_time)
);
comment on table record_ledger.pipeline_zone is
'Private. One row per stretch of windows of a pipeline that were cut with one time zone.';

-- Each config that a pipeline has had stands in an event of its own, with its version. A window was cut with the zone
-- of the version that its record was first built with. A record that was stored unbuilt was cut with the newest
-- version that was in force by then. Where events are missing the zone in force has to do.
with version as (
    select
        e.pipeline_id,
        (e.detail ->> 'config_version')::integer as config_version,
        e.event_time,
        e.detail #>> '{config,timezone}' as timezone
    from record_ledger.pipeline_event as e
    where e.event in ('registered', 'reconfigured')
        and e.detail ? 'config_version'
        and e.detail #>> '{config,timezone}' is not null
),

-- Most pipelines have had one zone, and no record has to be looked at.
pipeline as (
    select
        p.pipeline_id,
        p.timezone,
        coalesce(m.has_moved, false) as has_moved
    from record_ledger.pipeline as p
    cross join lateral (
        select bool_or(v.timezone <> p.timezone) as has_moved
        from version as v
        where v.pipeline_id = p.pipeline_id
    ) as m
),

-- 'rebuilt' was the event of a record that is built with another version; the first one knows what was there before.
record as (
    select
        r.pipeline_id,
        r.window_start_time,
        r.created_at,
        case when b.detail is null then r.config_version
            else (b.detail ->> 'config_version_before')::integer
        end as config_version
    from record_ledger.record as r
    join pipeline as p on p.pipeline_id = r.pipeline_id and p.has_moved
    left join lateral (
        select e.detail
        from record_ledger.record_event as e
        where e.pipeline_id = r.pipeline_id
            and e.window_start_time = r.window_start_time
            and e.event = 'rebuilt'
        order by e.event_no
        limit 1
    ) as b on true
    union all
    select
        r.pipeline_id,
        r.window_start_time,
        r.created_at,
        case when b.detail is null then r.config_version
            else (b.detail ->> 'config_version_before')::integer
        end as config_version
    from record_ledger.archived_record as r
    join pipeline as p on p.pipeline_id = r.pipeline_id and p.has_moved
    left join lateral (
        select e.detail
        from record_ledger.archived_record_event as e
        where e.pipeline_id = r.pipeline_id
            and e.window_start_time = r.window_start_time
            and e.event = 'rebuilt'
        order by e.event_no
        limit 1
    ) as b on true
),

window_zone as (
    select
        r.pipeline_id,
        r.window_start_time,
        coalesce(
            (
                select v.timezone
                from version as v
                where v.pipeline_id = r.pipeline_id and v.config_version = r.config_version
            ),
            (
                select v.timezone
                from version as v
                where v.pipeline_id = r.pipeline_id and v.event_time <= r.created_at
                order by v.config_version desc
                limit 1
            ),
            p.timezone
        ) as timezone
    from record as r
    join pipeline as p on p.pipeline_id = r.pipeline_id
),

stretch as (
    select
        w.pipeline_id,
        w.window_start_time,
        w.timezone,
        lag(w.timezone) over (
            partition by w.pipeline_id order by w.window_start_time
        ) as timezone_before
    from window_zone as w
)

insert into record_ledger.pipeline_zone (pipeline_id, from_time, timezone)
select
    s.pipeline_id,
    s.window_start_time,
    s.timezone
from stretch as s
where s.timezone is distinct from s.timezone_before
union all
select
    p.pipeline_id,
    f.window_start_time,
    p.timezone
from pipeline as p
cross join lateral (
    select least(
        (
            select r.window_start_time
            from record_ledger.record as r
            where r.pipeline_id = p.pipeline_id
            order by r.window_start_time
            limit 1
        ),
        (
            select a.window_start_time
            from record_ledger.archived_record as a
            where a.pipeline_id = p.pipeline_id
            order by a.window_start_time
            limit 1
        )
    ) as window_start_time
) as f
where not p.has_moved and f.window_start_time is not null;

update record_ledger.pipeline as p
set zone_since = z.from_time
from (
    select distinct on (s.pipeline_id)
        s.pipeline_id,
        s.from_time,
        s.timezone
    from record_ledger.pipeline_zone as s
    order by s.pipeline_id asc, s.from_time desc
) as z
where z.pipeline_id = p.pipeline_id and z.timezone = p.timezone;
$body$);
select record_ledger.migrate(8, '0008_configs', $body$-- record_ledger migration 8: configs by meaning, and the fields that records are passed with.
-- What a pass must know of a pipeline to tell an outdated record from a current one without looking at any other.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: a record is outdated when it was built before the fields_version of its pipeline, or never.

-- ---------------------------------------------------------------- pipeline
alter table record_ledger.pipeline
-- The config_version at which default_record or check_fields last changed. Other keys make no record outdated.
add column fields_version integer not null default 1,
-- The check_fields that default_record leaves empty; null when it fills all. The one answer for all outdated records.
add column missing_fields text[],
-- Where default_record leaves some empty: the first record that a caller's own fields have made complete.
add column filled_from timestamptz;

update record_ledger.pipeline as p
set fields_version = coalesce(
        (
            select max(v.config_version)
            from (
                select
                    (e.detail ->> 'config_version')::integer as config_version,
                    f.fields,
                    f.check_fields,
                    lag(f.fields) over (order by e.event_no) as fields_before,
                    lag(f.check_fields) over (order by e.event_no) as check_fields_before
                from record_ledger.pipeline_event as e
                cross join lateral (
                    select
                        (e.detail #> '{config,default_record}') - 'pipeline_id' as fields,
                        coalesce(e.detail #> '{config,check_fields}', '[]') as check_fields
                ) as f
                where e.pipeline_id = p.pipeline_id and e.event in ('registered', 'reconfigured')
            ) as v
            where v.fields is distinct from v.fields_before
                or v.check_fields is distinct from v.check_fields_before
        ),
        p.config_version
    ),
    missing_fields = (
        select array_agg(c.field order by c.place)
        from unnest(p.check_fields) with ordinality as c (field, place)
        where coalesce(p.fields ->> c.field, '') = ''
            and c.field not in (
                'pipeline_id',
                'target_day',
                'window_start_time',
                'window_end_time',
                'time_interval'
            )
    );

-- ---------------------------------------------------------------- record
alter table record_ledger.record disable trigger user;

-- What was never built waits with the others from now on: a pass builds it. It may be older than what was passed since.
update record_ledger.record as r
set missing_fields = null,
    lane = case when r.is_historical then 'historical' else 'returned' end
where r.open_pipeline_id is not null and r.lane in ('incomplete', 'unbuilt')
    and r.config_version is null;

-- What was built and is incomplete is told apart by the config that it was built with.
update record_ledger.record as r
set lane = 'incomplete' || lpad(r.config_version::text, 10, '0')
        || case when r.is_historical then 'h' else '' end
where r.open_pipeline_id is not null and r.lane in ('incomplete', 'unbuilt');

-- Whatever else was never built counts by default_record as well.
update record_ledger.record as r
set missing_fields = null
where r.open_pipeline_id is not null and r.config_version is null and r.missing_fields is not null;

alter table record_ledger.record enable trigger user;

-- Views that others may have built on hold the whole row, so the two columns stay, and nothing reads them.
comment on column record_ledger.record.awaits_build is
'Private. Not used any more: the lane and the config_version say which record is to be built.';
comment on column record_ledger.record.out_of_order is
'Private. Not used any more: a record that has left the lane ''waiting'' never comes back to it.';

-- ---------------------------------------------------------------- pipeline_event
-- A config that returns is found by its text, whatever number of configs a pipeline has had.
create index configs_by_text
on record_ledger.pipeline_event (
    pipeline_id, pg_catalog.hashtextextended(detail ->> 'config', 0)
)
where detail ->> 'config' is not null;
-- The few that have returned, newest last.
create index returned_configs
on record_ledger.pipeline_event (event_time, pipeline_id)
where detail ->> 'same_config_as_version' is not null;

-- ---------------------------------------------------------------- functions whose signature is another one now
drop function if exists record_ledger.lane(text, text[], boolean, integer, boolean, boolean);
drop function if exists record_ledger.config_problems(jsonb);
drop function if exists record_ledger.next_answer(record_ledger.pipeline, text, timestamptz);
drop function if exists record_ledger.oldest_due(text, text, timestamptz, timestamptz);
drop function if exists record_ledger.pass_record(record_ledger.pipeline, text, timestamptz);
drop function if exists record_ledger.windows_to_build(
    record_ledger.pipeline, boolean, timestamptz
);
drop function if exists record_ledger.build_records(record_ledger.pipeline, jsonb, timestamptz);
drop function if exists record_ledger.can_build_alone(record_ledger.pipeline, timestamptz);
drop function if exists record_ledger.record_missing_fields(
    jsonb, integer, record_ledger.pipeline
);
drop function if exists record_ledger.pending_in_order(
    text, integer, integer, timestamptz, integer
);
drop function if exists record_ledger.expected_claims(
    record_ledger.pipeline, timestamptz, interval, boolean, timestamptz
);
drop function if exists record_ledger.stuck_window(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz[], boolean
);
$body$);
select record_ledger.migrate(9, '0009_safety', $body$-- record_ledger migration 9: owners of pipelines, and bounds of texts.
-- A pipeline may belong to a role, whose members alone register, pass, end and operate on it.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: none.

-- ---------------------------------------------------------------- pipeline
alter table record_ledger.pipeline
-- The name of the role that it belongs to; null when it is every runner's. Not its number: a dump that is restored on
-- another server finds the role of that name there.
add column owner_role text;

-- ---------------------------------------------------------------- functions whose signature is another one now
drop function if exists record_ledger.check_reason(text);
$body$);
select record_ledger.migrate(10, '0010_lanes', $body$-- record_ledger migration 10: lanes of their own for records that wait for an instant, and marks for more lanes.
-- What a pass must know to read the same few entries whatever else a pipeline holds, and whatever an old snapshot sees.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: a pending record with a retry_at is in the lane 'retry' or 'retryh', or is incomplete.

-- ---------------------------------------------------------------- record
-- Tells which leases and which backoffs are over, by the instants at which they end. Nothing else has an entry here.
create index open_records_by_end
on record_ledger.record (open_pipeline_id, lane, lease_expires_at, retry_at, window_start_time)
where lease_expires_at is not null or retry_at is not null;

-- Parsed anew in every statement: check_bounds, a trigger that fires for nothing else, says the same.
alter table record_ledger.record drop constraint window_ends_after_it_starts;

alter table record_ledger.record disable trigger user;

update record_ledger.record as r
set lane = case when r.is_historical then 'retryh' else 'retry' end
where r.open_pipeline_id is not null and r.retry_at is not null
    and r.lane in ('historical', 'returned');

alter table record_ledger.record enable trigger user;

-- ---------------------------------------------------------------- claim
alter table record_ledger.claim
-- As of this pass no record in these lanes starts before these instants; null when it is not known. A record that was
-- in progress then may have come to one of them since: so they hold from the active_mark on only.
add column historical_mark timestamptz,
add column returned_mark timestamptz,
-- Of the lanes 'retry' and 'retryh'.
add column retry_mark timestamptz,
-- No lease ends before it; null when it is not known. A lease that is shortened makes it void.
add column lease_mark timestamptz,
-- When a pass last saw a record in a lane besides 'waiting' and 'active'; null when none ever did.
add column others_seen_at timestamptz;

-- ---------------------------------------------------------------- record
alter table record_ledger.record
-- As of its newest pass no record before this one waited in order.
add column is_first boolean not null default false,
-- And no other one was in progress, and none pending but those that wait in order after this one.
add column is_alone boolean not null default false;

-- ---------------------------------------------------------------- pipeline
alter table record_ledger.pipeline
-- The newest token when an operation last brought records into lanes: the marks of claims up to it say nothing of them.
add column marks_void_at bigint;

-- ---------------------------------------------------------------- functions whose signature is another one now
drop function if exists record_ledger.lane(text, text[], integer, boolean, boolean);
drop function if exists record_ledger.next_answer(record_ledger.pipeline, text, timestamptz);
drop function if exists record_ledger.next_candidate(
    record_ledger.pipeline,
    timestamptz,
    timestamptz,
    timestamptz,
    numeric,
    timestamptz,
    timestamptz
);
drop function if exists record_ledger.deciding_record(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz, timestamptz
);
drop function if exists record_ledger.no_records_reason(record_ledger.pipeline, timestamptz);
drop function if exists record_ledger.lost_before(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz
);
drop function if exists record_ledger.lane_heads(
    text, timestamptz, timestamptz, timestamptz
);
drop function if exists record_ledger.stuck_window(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz[]
);
drop function if exists record_ledger.oldest_due(
    text, text, timestamptz, timestamptz, integer
);
drop function if exists record_ledger.expected_claims(
    record_ledger.pipeline, timestamptz, interval, timestamptz
);
drop function if exists record_ledger.collect_expired_leases(
    record_ledger.pipeline, timestamptz, timestamptz
);
$body$);
-- record_ledger.adoptable_observations: what a claim may take over from earlier claims of the same generation.
-- Per stage that it has not counted itself, the newest observation that was written under a claim current at the time.
-- Read by: adopt_observations, counts_problem.
-- Rules: none.
create or replace function record_ledger.adoptable_observations(
    pipeline_id text, window_start_time timestamptz, claim_token bigint
)
returns setof record_ledger.record_observation
language sql
stable
as $$
    select distinct on (o.stage) o.*
    from record_ledger.record_observation as o
    where o.pipeline_id = adoptable_observations.pipeline_id
        and o.window_start_time = adoptable_observations.window_start_time
        and o.claim_token < adoptable_observations.claim_token
        and o.generation = (
            select r.generation
            from record_ledger.record as r
            where r.pipeline_id = o.pipeline_id and r.window_start_time = o.window_start_time
        )
        and not exists (
            select
            from record_ledger.record_observation as n
            where n.pipeline_id = o.pipeline_id
                and n.window_start_time = o.window_start_time
                and n.claim_token = adoptable_observations.claim_token
                and n.stage = o.stage
        )
    order by o.stage, o.observation_no desc
$$;
comment on function record_ledger.adoptable_observations(text, timestamptz, bigint) is
'Private. The newest observation per stage that a claim may take over from earlier claims of its generation.';
-- record_ledger.archive_end: where the archive of a pipeline ends; null when nothing is archived.
-- Its first record that is not archived starts exactly there, so no window before it can ever be added.
-- Read by: archivable_records, check_backfill.
-- Rules: none.
create or replace function record_ledger.archive_end(pipeline_id text)
returns timestamptz
language sql
stable
-- One look into the index of each year, however many rows it has.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
    select a.window_end_time
    from record_ledger.archived_record as a
    where a.pipeline_id = archive_end.pipeline_id
    order by a.window_start_time desc
    limit 1
$$;
comment on function record_ledger.archive_end(text) is
'Private. The end of the newest archived window of a pipeline; null when nothing is archived.';
-- record_ledger.attempt_ending: what ended the newest attempt of a record, as BACKOFF and FAILED say it.
-- Of a cancelled claim it is the cancellation, whatever the run said of it. A record that was taken back only in
-- thought still bears the event of its pass: then its lease has expired.
-- Read by: record_verdict.
-- Rules: shortened: a sentence stands in each answer and each row of why; the history has it whole.
create or replace function record_ledger.attempt_ending(last_event text, last_detail jsonb)
returns text
language sql
immutable
as $$
    select case
        when last_detail ? 'cancelled_by' then pg_catalog.format(
            'it was cancelled by %s: %s',
            last_detail ->> 'cancelled_by',
            record_ledger.shortened(last_detail ->> 'cancel_reason', 1000)
        )
        when last_event = 'failed'
            then coalesce(
                record_ledger.shortened(nullif(last_detail ->> 'error', ''), 1000),
                'no error was told'
            )
        when last_event = 'rebuilt' then 'its record was built again since'
        when last_event = 'counts_waived'
            then coalesce(
                'its counts were waived since: '
                || record_ledger.shortened(last_detail ->> 'reason', 1000),
                'its lease expired'
            )
        else coalesce(
            'it was taken back: ' || record_ledger.shortened(last_detail ->> 'reason', 1000),
            'its lease expired'
        )
    end
$$;
comment on function record_ledger.attempt_ending(text, jsonb) is
'What ended the newest attempt of a record: the error, the operator''s reason, or that its lease expired.';
-- record_ledger.backfill_start: where a backfill of about max_records windows begins that ends at first_start.
-- At the start of a local day; within a day, where one of its windows starts, when the day has more than that.
-- Not before the local day of from_time. Reads no ledger rows.
-- Read by: backfill_range.
-- Rules: day_start, local_day; windows_from: a day's windows start one granularity apart from its start on.
create or replace function record_ledger.backfill_start(
    p record_ledger.pipeline,
    from_time timestamptz,
    first_start timestamptz,
    max_records integer
)
returns timestamptz
language plpgsql
immutable
as $$
declare
    v_start timestamptz := record_ledger.day_start(
        record_ledger.local_day(from_time, p.timezone), p.timezone
    );
    v_day date := record_ledger.local_day(first_start - interval '1 microsecond', p.timezone);
    v_day_start timestamptz := record_ledger.day_start(v_day, p.timezone);
    v_is_daily boolean := p.granularity >= interval '24:00:00';
    v_windows integer := case
        when v_is_daily then 1
        else ceil(extract(epoch from first_start - v_day_start) / extract(epoch from p.granularity))
    end;
    -- Clocks that are set back make a day longer, by some hours at most.
    v_windows_per_day integer := case
        when v_is_daily then 1 else ceil(97200 / extract(epoch from p.granularity))
    end;
begin
    if v_windows > max_records then
        return greatest(v_start, v_day_start + (v_windows - max_records) * p.granularity);
    end if;
    return greatest(
        v_start,
        record_ledger.day_start(
            v_day - (max_records - v_windows) / v_windows_per_day, p.timezone
        )
    );
end
$$;
comment on function record_ledger.backfill_start(
    record_ledger.pipeline, timestamptz, timestamptz, integer
) is
'Private. Where a backfill of about so many windows begins that ends at an instant.';
-- record_ledger.backfill_windows: the windows that a backfill adds before the first stored one, oldest first.
-- From the first instant of from_time's local day on; the last one ends where the first stored one starts.
-- Read by: range_effects; backfill_range says the same in parts.
-- Rules: windows_from, day_start, local_day.
create or replace function record_ledger.backfill_windows(
    p record_ledger.pipeline, from_time timestamptz, first_start timestamptz
)
returns table (target_day date, window_start_time timestamptz, window_end_time timestamptz)
language sql
immutable
as $$
    select w.target_day, w.window_start_time, least(w.window_end_time, first_start)
    from record_ledger.windows_from(
        record_ledger.day_start(
            record_ledger.local_day(from_time, (p).timezone), (p).timezone
        ),
        first_start,
        (p).granularity,
        (p).timezone,
        null
    ) as w
    where from_time < first_start
    order by w.window_start_time
$$;
comment on function record_ledger.backfill_windows(
    record_ledger.pipeline, timestamptz, timestamptz
) is
'Private. The windows that a backfill adds before the first stored one, oldest first.';
-- record_ledger.built_problem: what is wrong with the built windows that a caller sent; null when nothing is.
-- Each must be {"window_start_time": ISO 8601 with offset, "window_end_time": the same, "config_version": the number
-- that to_build gave, "fields": {...}}, and one of the config in force has exactly its fields.
-- Read by: store_new_records, register_store_and_pass.
-- Rules: instant, json_problem, shortened.
create or replace function record_ledger.built_problem(built jsonb, p record_ledger.pipeline)
returns text
language plpgsql
stable
as $$
declare
    v_entry jsonb;
    v_name text;
    v_problem text;
    v_fields constant text[] := array(select k from jsonb_object_keys(p.fields) as k order by k);
begin
    if jsonb_typeof(built) is distinct from 'array' then
        return format('built: %s is no array', coalesce(left(built::text, 80), 'null'));
    end if;
    for v_entry in select e.element from jsonb_array_elements(built) as e (element) loop
        foreach v_name in array array['window_start_time', 'window_end_time'] loop
            if jsonb_typeof(v_entry) <> 'object'
                or record_ledger.instant(v_entry ->> v_name) is null
            then
                return format(
                    'built: %s has no %s in ISO 8601 with an offset; '
                    'send back what to_build names',
                    left(v_entry::text, 160),
                    v_name
                );
            end if;
        end loop;
        if jsonb_typeof(v_entry -> 'config_version') is distinct from 'number'
            or v_entry ->> 'config_version' !~ '^[0-9]{1,9}$'
        then
            return format(
                'built: window %s has no config_version; send back the one that to_build names',
                v_entry ->> 'window_start_time'
            );
        end if;
        if jsonb_typeof(v_entry -> 'fields') is distinct from 'object' then
            return format(
                'built: window %s has no object "fields"', v_entry ->> 'window_start_time'
            );
        end if;
        v_problem := record_ledger.json_problem(v_entry -> 'fields', 262144);
        if v_problem is not null then
            return format(
                'built: the fields of window %s are not valid: their JSON %s',
                v_entry ->> 'window_start_time', v_problem
            );
        end if;
        if (v_entry ->> 'config_version')::integer = p.config_version
            and array(select k from jsonb_object_keys(v_entry -> 'fields') as k order by k)
                <> v_fields
        then
            return format(
                'built: the fields of window %s are %s; the config''s default_record has %s',
                v_entry ->> 'window_start_time',
                record_ledger.shortened(
                    array(
                        select k from jsonb_object_keys(v_entry -> 'fields') as k order by k
                    )::text,
                    2000
                ),
                record_ledger.shortened(v_fields::text, 2000)
            );
        end if;
    end loop;
    return null;
end
$$;
comment on function record_ledger.built_problem(jsonb, record_ledger.pipeline) is
'What is wrong with the built windows that a caller sent; null when nothing is.';
-- record_ledger.built_windows: the entries of built that were rendered with the config in force, one per window.
-- One of another config_version is left out: its fields are another config's, whatever they are called.
-- Read by: store_windows, build_records, built_fields.
-- Rules: built_problem has read the array before.
create or replace function record_ledger.built_windows(built jsonb, p record_ledger.pipeline)
returns table (window_start_time timestamptz, window_end_time timestamptz, fields jsonb)
language sql
stable
as $$
    select distinct on (1, 2)
        (e.element ->> 'window_start_time')::timestamptz as window_start_time,
        (e.element ->> 'window_end_time')::timestamptz as window_end_time,
        e.element -> 'fields' as fields
    from jsonb_array_elements(built) as e (element)
    where (e.element -> 'config_version') = to_jsonb((p).config_version)
$$;
comment on function record_ledger.built_windows(jsonb, record_ledger.pipeline) is
'Private. The entries of built that were rendered with the config in force, one per window.';
-- record_ledger.check_bounds: a window ends after it starts.
-- A trigger and no check constraint: PostgreSQL reads a constraint's text anew in every statement, updates included,
-- and fires this one only for a window that is wrong. check_record_change keeps the bounds as they were stored.
-- Called by: the trigger of the same name on record, for an insert that breaks it.
-- Rules: none.
create or replace function record_ledger.check_bounds()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'illegal window: % of pipeline % ends at %, which is not after its start',
        new.window_start_time, new.pipeline_id, new.window_end_time
        using errcode = 'check_violation', constraint = 'window_ends_after_it_starts';
end
$$;
comment on function record_ledger.check_bounds() is
'Private. Trigger: refuses a window that does not end after its start.';

do $$
begin
    if not exists (
        select from pg_catalog.pg_trigger as t
        where t.tgrelid = 'record_ledger.record'::regclass and t.tgname = 'check_bounds'
    ) then
        create trigger check_bounds before insert on record_ledger.record
        for each row when (new.window_end_time <= new.window_start_time)
        execute function record_ledger.check_bounds();
    end if;
end
$$;
-- record_ledger.check_counts: true when the counts of a record in progress let it be completed; raises RL007 else.
-- They agree, an operator waived them for this generation, or the config in force asks for none. Raises 42501 when the
-- pipeline belongs to a role that the session's user is not a member of.
-- Called by: check_record_change, only for records whose pipeline asked for counts, or had an owner, when they were
-- passed, or since.
-- Rules: counts_problem, check_owner_of.
create or replace function record_ledger.check_counts(r record_ledger.record)
returns boolean
language plpgsql
as $$
declare
    v_problem text;
begin
    perform record_ledger.check_owner_of(r.pipeline_id);
    if r.counts_waived then
        return true;
    end if;
    -- Volatile, in a statement of its own: it sees what was counted until the record was locked.
    v_problem := record_ledger.counts_problem(r.pipeline_id, r.window_start_time, r.claim_token);
    if v_problem is null then
        return true;
    end if;
    raise exception 'counts do not agree: window % of pipeline % is not completed: %',
        record_ledger.local_time(
            r.window_start_time,
            record_ledger.stretch_timezone(r.pipeline_id, r.window_start_time)
        ),
        r.pipeline_id,
        v_problem
        using errcode = 'RL007',
        hint = 'Count again with observe_record and this claim token, fail the record, '
            'or have its counts waived: waive_counts, with a reason.';
end
$$;
comment on function record_ledger.check_counts(record_ledger.record) is
'Private. True when the counts of a record let it be completed; RL007 else.';
-- record_ledger.check_events_archived: events are deleted only when the archive has the same rows.
-- Judges by what the tables hold: there is no setting that would let anybody delete. Refuses with RL003.
-- Called by: the trigger of the same name on record_event, once per statement: one by one, events take thrice as long.
-- Rules: none.
create or replace function record_ledger.check_events_archived()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
-- One look-up by key for each event, however large the archive is.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    v_event record_ledger.record_event;
begin
    select g.* into v_event
    from gone as g
    where not exists (
        select
        from record_ledger.archived_record_event as a
        where a.pipeline_id = g.pipeline_id and a.window_start_time = g.window_start_time
            and a.event_no = g.event_no
            and (
                a.event_time, a.event, a.from_status, a.to_status, a.generation, a.attempt,
                a.claim_token, a.run_id, a.actor, a.detail
            ) is not distinct from (
                g.event_time, g.event, g.from_status, g.to_status, g.generation, g.attempt,
                g.claim_token, g.run_id, g.actor, g.detail
            )
    )
    limit 1;
    if found then
        raise exception
            'illegal change: delete of record_ledger.record_event is refused, '
            'the archive does not have event % of the record % of pipeline %',
            v_event.event_no, v_event.window_start_time, v_event.pipeline_id
            using errcode = 'RL003',
            hint = 'archive_records(pipeline_id, before) moves finished records to the archive.';
    end if;
    return null;
end
$$;
comment on function record_ledger.check_events_archived() is
'Private. Trigger: refuses (RL003) to delete events that the archive does not have.';

-- Only when it is missing: creating a trigger waits for every writer of the table, and a deploy should not.
do $$
begin
    if not exists (
        select from pg_catalog.pg_trigger as t
        where t.tgrelid = 'record_ledger.record_event'::regclass
            and t.tgname = 'check_events_archived'
    ) then
        create trigger check_events_archived after delete on record_ledger.record_event
        referencing old table as gone
        for each statement execute function record_ledger.check_events_archived();
    end if;
end
$$;
-- record_ledger.check_kept_columns: what a pass and a completion leave as it is in a record.
-- Fires only for updates that name one of these columns, so the two changes that nearly all are pay nothing for it; an
-- update cannot change what it does not name. For all other changes check_record_change looks at these columns itself.
-- Named to fire before that one, which writes some of them.
-- Called by: the trigger of the same name on record.
-- Rules: check_record_change has the list of legal changes.
create or replace function record_ledger.check_kept_columns()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if (
        new.last_event = 'passed' and old.status = 'PENDING'
        or new.last_event = 'completed' and old.status = 'IN_PROGRESS'
    ) and (
        new.pipeline_id,
        new.window_start_time,
        new.window_end_time,
        new.target_day,
        new.created_at,
        new.previous_window_start_time,
        new.event_count,
        new.generation,
        new.fields,
        new.is_historical,
        new.counts_waived,
        new.open_pipeline_id
    ) is distinct from (
        old.pipeline_id,
        old.window_start_time,
        old.window_end_time,
        old.target_day,
        old.created_at,
        old.previous_window_start_time,
        old.event_count,
        old.generation,
        old.fields,
        old.is_historical,
        old.counts_waived,
        old.open_pipeline_id
    ) then
        raise exception 'illegal change of the record % of pipeline %: % from % to %',
            old.window_start_time,
            old.pipeline_id,
            new.last_event,
            old.status,
            new.status
            using errcode = 'RL003',
            hint = 'Use the routines of schema record_ledger; '
                'sql/README.md shows the legal changes.';
    end if;
    return new;
end
$$;
comment on function record_ledger.check_kept_columns() is
'Private. Trigger: refuses passes and completions of a record that change what they must keep (RL003).';

do $$
begin
    if not exists (
        select from pg_catalog.pg_trigger as t
        where t.tgrelid = 'record_ledger.record'::regclass and t.tgname = 'check_kept_columns'
    ) then
        create trigger check_kept_columns before update of
        pipeline_id,
        window_start_time,
        window_end_time,
        target_day,
        created_at,
        previous_window_start_time,
        event_count,
        generation,
        fields,
        is_historical,
        counts_waived,
        open_pipeline_id
        on record_ledger.record
        for each row execute function record_ledger.check_kept_columns();
    end if;
end
$$;
-- record_ledger.check_observations_archived: observations are deleted only when the archive has the same rows.
-- Judges by what the tables hold: there is no setting that would let anybody delete. Refuses with RL003.
-- Called by: the trigger of the same name on record_observation, once per statement.
-- Rules: none.
create or replace function record_ledger.check_observations_archived()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
-- One look-up by key for each observation, however large the archive is.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    v_observation record_ledger.record_observation;
begin
    select g.* into v_observation
    from gone as g
    where not exists (
        select
        from record_ledger.archived_record_observation as a
        where a.pipeline_id = g.pipeline_id and a.window_start_time = g.window_start_time
            and a.observation_no = g.observation_no
            and row(a.*) is not distinct from row(g.*)
    )
    limit 1;
    if found then
        raise exception
            'illegal change: delete of record_ledger.record_observation is refused, '
            'the archive does not have observation % of the record % of pipeline %',
            v_observation.observation_no,
            v_observation.window_start_time,
            v_observation.pipeline_id
            using errcode = 'RL003',
            hint = 'archive_records(pipeline_id, before) moves finished records to the archive.';
    end if;
    return null;
end
$$;
comment on function record_ledger.check_observations_archived() is
'Private. Trigger: refuses (RL003) to delete observations that the archive does not have.';

-- Only when it is missing: creating a trigger waits for every writer of the table, and a deploy should not.
do $$
begin
    if not exists (
        select from pg_catalog.pg_trigger as t
        where t.tgrelid = 'record_ledger.record_observation'::regclass
            and t.tgname = 'check_observations_archived'
    ) then
        create trigger check_observations_archived after delete on record_ledger.record_observation
        referencing old table as gone
        for each statement execute function record_ledger.check_observations_archived();
    end if;
end
$$;
-- record_ledger.check_record_archived: a record is deleted only when the archive has the same row.
-- Judges by what the tables hold: there is no setting that would let anybody delete. Refuses with RL003.
-- Called by: the trigger of the same name on record.
-- Rules: none. Before each row, so that this error comes before the foreign key's.
create or replace function record_ledger.check_record_archived()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (
        select
        from record_ledger.archived_record as a
        where a.pipeline_id = old.pipeline_id
            and a.window_start_time = old.window_start_time
            and (
                a.window_end_time, a.target_day, a.status, a.generation, a.attempt, a.claim_token,
                a.run_id, a.fields, a.config_version, a.missing_fields, a.is_historical,
                a.event_count, a.last_event, a.last_detail, a.created_at, a.updated_at,
                a.counts_waived
            ) is not distinct from (
                old.window_end_time, old.target_day, old.status, old.generation, old.attempt,
                old.claim_token, old.run_id, old.fields, old.config_version, old.missing_fields,
                old.is_historical, old.event_count, old.last_event, old.last_detail, old.created_at,
                old.updated_at, old.counts_waived
            )
    ) then
        raise exception
            'illegal change: delete of record_ledger.record is refused, '
            'the archive does not have the record % of pipeline %',
            old.window_start_time, old.pipeline_id
            using errcode = 'RL003',
            hint = 'archive_records(pipeline_id, before) moves finished records to the archive.';
    end if;
    return old;
end
$$;
comment on function record_ledger.check_record_archived() is
'Private. Trigger: refuses (RL003) to delete a record that the archive does not have.';

-- Only when it is missing: creating a trigger waits for every writer of the table, and a deploy should not.
do $$
begin
    if not exists (
        select from pg_catalog.pg_trigger as t
        where t.tgrelid = 'record_ledger.record'::regclass and t.tgname = 'check_record_archived'
    ) then
        create trigger check_record_archived before delete on record_ledger.record
        for each row execute function record_ledger.check_record_archived();
    end if;
end
$$;
-- record_ledger.check_record_change: the state machine, on every update of a record, whoever makes it.
-- A change names its event (last_event); the status that follows is written here, the event appended, and whatever the
-- diagram in README.md does not show is refused (RL003), or RL007 where it is the counts that keep it from completion.
-- Called by: the trigger of the same name on record.
-- Rules: the one list of legal changes is here, but for what check_kept_columns keeps; check_counts, void_marks.
create or replace function record_ledger.check_record_change()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_is_event boolean;
    v_is_legal boolean;
    v_status text;
    -- Of the event; null: that of the record.
    v_attempt integer;
begin
    -- Small expressions on purpose: a session sets up each of them anew in every transaction that comes to it.
    -- Nearly all changes are these two. What they must keep besides is said in check_kept_columns, which an update that
    -- names no such column does not pay for.
    if new.last_event = 'passed' then
        if old.status = 'PENDING' and new.status = 'PENDING' and new.attempt = old.attempt + 1
            and new.claim_token is not null and new.lease_expires_at is not null
            and new.retry_at is null
            and coalesce(new.cancellation, new.postponement) is null
        then
            v_status := 'IN_PROGRESS';
            new.lane := 'active';
        end if;
    elsif new.last_event = 'completed' then
        if old.status = 'IN_PROGRESS' and not old.needs_counts
            and new.status = 'IN_PROGRESS' and new.claim_token = old.claim_token
            and new.attempt = old.attempt and new.lease_expires_at is null
            and new.retry_at is null
            and (new.is_first, new.is_alone) = (old.is_first, old.is_alone)
            and coalesce(new.cancellation, new.postponement) is null
        then
            v_status := 'COMPLETED';
            new.lane := null;
            new.open_pipeline_id := null;
        end if;
    end if;
    if v_status is null then
        if new.pipeline_id <> old.pipeline_id or new.window_start_time <> old.window_start_time
            or new.window_end_time <> old.window_end_time or new.target_day <> old.target_day
            or new.created_at <> old.created_at
        then
            raise exception 'illegal change: the window % of pipeline % is stored and never moves',
                old.window_start_time, old.pipeline_id using errcode = 'RL003';
        end if;

        v_is_event := new.status <> old.status
            or new.last_event is distinct from old.last_event
            or new.claim_token is distinct from old.claim_token
            or new.last_detail is distinct from old.last_detail;
        if not v_is_event then
            -- A heartbeat, a link, or built anew with the same fields: no event, so nothing else may differ.
            v_is_legal := new.generation = old.generation and new.attempt = old.attempt
                and new.fields = old.fields and new.event_count = old.event_count
                and new.run_id is not distinct from old.run_id
                and new.retry_at is not distinct from old.retry_at
                and new.updated_at = old.updated_at
                and (new.lease_expires_at is null) = (old.lease_expires_at is null)
                and new.cancellation is not distinct from old.cancellation
                and new.postponement is not distinct from old.postponement
                and new.is_historical = old.is_historical
                and new.is_first = old.is_first and new.is_alone = old.is_alone
                and new.counts_waived = old.counts_waived and new.needs_counts >= old.needs_counts;
            -- A record is linked anew only while none is before it (the schema then checks the link), or none any more.
            if new.previous_window_start_time is distinct from old.previous_window_start_time
                and exists (
                    select
                    from record_ledger.record as r
                    where r.pipeline_id = old.pipeline_id
                        and r.window_start_time = old.previous_window_start_time
                )
            then
                v_is_legal := false;
            end if;
        else
            case new.last_event
                when 'passed' then
                    v_status := 'IN_PROGRESS';
                    v_is_legal := old.status = 'PENDING' and new.attempt = old.attempt + 1;
                when 'completed' then
                    v_status := 'COMPLETED';
                    -- The counts come last: they are looked up only where the config asks for any.
                    v_is_legal := old.status = 'IN_PROGRESS' and new.claim_token = old.claim_token
                        and (not old.needs_counts or record_ledger.check_counts(old));
                when 'passed_again' then
                    v_status := 'IN_PROGRESS';
                    v_is_legal := old.status = 'IN_PROGRESS' and old.cancellation is null
                        and new.claim_token > old.claim_token
                        and new.run_id is not distinct from old.run_id;
                when 'failed', 'lease_expired', 'released' then
                    v_is_legal := old.status = 'IN_PROGRESS'
                        and new.attempt = old.attempt - (new.last_event = 'released')::integer;
                    -- A released attempt is not counted, but it is the one that was released.
                    v_attempt := case new.last_event when 'released' then old.attempt end;
                    if old.cancellation is not null then
                        -- However the run ends it, or does not: no run is passed a cancelled record again.
                        v_status := 'FAILED';
                        new.claim_token := old.claim_token;
                        new.run_id := old.run_id;
                        new.retry_at := null;
                        new.postponement := null;
                        new.last_detail := coalesce(new.last_detail, '{}') || old.cancellation;
                    elsif new.retry_at is null and new.last_event <> 'released' then
                        -- With a time to try again there is an attempt left.
                        v_status := 'FAILED';
                    else
                        v_status := 'PENDING';
                    end if;
                when 'cancelled' then
                    v_status := 'IN_PROGRESS';
                    v_is_legal := old.status = 'IN_PROGRESS' and old.cancellation is null
                        and new.cancellation ?& array[
                            'cancelled_by', 'cancelled_at', 'cancel_reason'
                        ]
                        and new.claim_token = old.claim_token
                        and new.run_id is not distinct from old.run_id;
                when 'waived' then
                    v_status := 'WAIVED';
                    v_is_legal := old.status in ('PENDING', 'FAILED');
                when 'reopened' then
                    v_status := 'PENDING';
                    new.is_historical := true;
                    new.counts_waived := false;
                    v_is_legal := old.status in ('COMPLETED', 'FAILED', 'WAIVED')
                        and new.attempt = 0;
                when 'rebuilt' then
                    v_status := 'PENDING';
                    v_is_legal := old.status = 'PENDING'
                        and new.postponement is not distinct from old.postponement;
                when 'counts_waived' then
                    v_status := old.status;
                    new.counts_waived := true;
                    v_is_legal := old.status in ('PENDING', 'IN_PROGRESS') and not old.counts_waived
                        and new.claim_token is not distinct from old.claim_token
                        and new.run_id is not distinct from old.run_id
                        and new.retry_at is not distinct from old.retry_at
                        and new.cancellation is not distinct from old.cancellation
                        and new.postponement is not distinct from old.postponement;
                else
                    v_is_legal := false;
            end case;
            -- The one place that writes a status; whoever writes another one is refused.
            v_is_legal := v_is_legal and new.status in (old.status, v_status);
            new.status := coalesce(v_status, new.status);
            -- What each status needs: a claim with a lease while in progress, neither while pending.
            v_is_legal := v_is_legal
                and new.event_count = old.event_count
                and new.generation = old.generation + (new.last_event = 'reopened')::integer
                and (
                    new.attempt = old.attempt
                    or new.last_event in ('passed', 'released', 'reopened')
                )
                and new.is_historical = (old.is_historical or new.last_event = 'reopened')
                and (
                    new.is_first = old.is_first and new.is_alone = old.is_alone
                    or new.last_event in ('passed', 'passed_again')
                )
                and (new.fields = old.fields or new.last_event = 'rebuilt')
                and (
                    new.counts_waived = old.counts_waived
                    or new.last_event in ('counts_waived', 'reopened')
                )
                -- Only a pass, which has the config at hand, finds that no counts are needed.
                and (new.needs_counts >= old.needs_counts or v_status = 'IN_PROGRESS')
                and new.previous_window_start_time
                    is not distinct from old.previous_window_start_time
                and (v_status = 'IN_PROGRESS') = (new.lease_expires_at is not null)
                and (v_status <> 'IN_PROGRESS' or new.claim_token is not null)
                and (v_status <> 'PENDING' or (new.claim_token is null and new.run_id is null))
                and (v_status = 'PENDING' or new.retry_at is null);
            -- A cancellation is of a record in progress, a postponement of one that waits.
            if new.cancellation is not null or new.postponement is not null then
                v_is_legal := v_is_legal
                    and (
                        new.cancellation is null
                        or new.last_event = 'cancelled'
                        or v_status = 'IN_PROGRESS' and new.cancellation = old.cancellation
                    )
                    and (
                        new.postponement is null
                        or v_status = 'PENDING' and new.retry_at is not null
                    );
            end if;
        end if;
        if v_is_legal is not true then
            raise exception 'illegal change of the record % of pipeline %: % from % to %',
                old.window_start_time,
                old.pipeline_id,
                coalesce(new.last_event, 'no event'),
                old.status,
                new.status
                using errcode = 'RL003',
                hint = 'Use the routines of schema record_ledger; '
                    'sql/README.md shows the legal changes.';
        end if;

        new.lane := record_ledger.lane(
            new.status,
            new.missing_fields,
            new.config_version,
            -- Once out of the lane 'waiting', whose mark may have gone by it, a record does not come back to it.
            old.lane = 'waiting',
            new.is_historical,
            new.retry_at
        );
        -- Claims note where lanes begin and before which instant no lease ends. What ends a claim keeps that true.
        if (
            new.lane is distinct from old.lane and old.lane is distinct from 'active'
            and new.lane in ('historical', 'retry', 'retryh', 'returned', 'waiting')
            or new.lease_expires_at < old.lease_expires_at
        ) and (
            -- Only reopenings are done for all at once: any session can have that setting.
            old.status in ('PENDING', 'IN_PROGRESS')
            or current_setting('record_ledger.voids_marks', true) is distinct from 'on'
        ) then
            perform record_ledger.void_marks(new.pipeline_id);
        end if;
        new.open_pipeline_id := case when new.lane is not null then new.pipeline_id end;
        if not v_is_event then
            return new;
        end if;
    end if;
    new.status := v_status;
    new.event_count := old.event_count + 1;
    -- A pass takes its time after its lock, and may then wait for a record that is released at a later one.
    new.updated_at := greatest(new.updated_at, old.updated_at);
    insert into record_ledger.record_event (
        pipeline_id,
        window_start_time,
        event_no,
        event_time,
        event,
        from_status,
        to_status,
        generation,
        attempt,
        claim_token,
        run_id,
        detail
    )
    values (
        new.pipeline_id,
        new.window_start_time,
        new.event_count,
        new.updated_at,
        new.last_event,
        old.status,
        v_status,
        new.generation,
        coalesce(v_attempt, new.attempt),
        coalesce(new.claim_token, old.claim_token),
        coalesce(new.run_id, old.run_id),
        coalesce(new.last_detail, '{}')
    );
    return new;
end
$$;
comment on function record_ledger.check_record_change() is
'Private. Trigger: refuses illegal changes of a record (RL003, RL007) and appends the event of each legal one.';

-- Only when it is missing: creating a trigger waits for every writer of the table, and a deploy should not.
do $$
begin
    if not exists (
        select from pg_catalog.pg_trigger as t
        where t.tgrelid = 'record_ledger.record'::regclass and t.tgname = 'check_record_change'
    ) then
        create trigger check_record_change before update on record_ledger.record
        for each row execute function record_ledger.check_record_change();
    end if;
end
$$;
-- record_ledger.claim_loss: why a claim token is not, or no longer, the one that decides about its record.
-- That no record was passed with it, that its claim is on another window than the one named, or what ended the claim.
-- Raises RL002 for an unknown pipeline, RL005 when no token was given.
-- Read by: raise_claim_lost, claim_state, complete_records.
-- Rules: none.
create or replace function record_ledger.claim_loss(
    pipeline_id text, claim_token bigint, window_start_time timestamptz default null
)
returns text
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    v_claim record_ledger.claim;
    v_end record;
    v_timezone text;
begin
    select p.timezone into v_timezone
    from record_ledger.pipeline as p
    where p.pipeline_id = claim_loss.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(claim_loss.pipeline_id);
    end if;
    if claim_loss.claim_token is null then
        raise exception 'claim_token: null is no token; give the one in the record that was passed'
            using errcode = 'RL005';
    end if;
    select c.* into v_claim
    from record_ledger.claim as c
    where c.pipeline_id = claim_loss.pipeline_id and c.claim_token = claim_loss.claim_token;
    if not found then
        return format(
            'pipeline %s never passed a record with claim token %s',
            claim_loss.pipeline_id, claim_loss.claim_token
        );
    end if;
    if v_claim.window_start_time <> claim_loss.window_start_time then
        return format(
            'claim token %s of pipeline %s is of window %s, not of window %s',
            v_claim.claim_token,
            v_claim.pipeline_id,
            record_ledger.local_time(v_claim.window_start_time, v_timezone),
            case
                when isfinite(claim_loss.window_start_time)
                    then record_ledger.local_time(claim_loss.window_start_time, v_timezone)
                else claim_loss.window_start_time::text
            end
        );
    end if;
    select e.event, e.event_time, e.actor, e.detail into v_end
    from (
        select l.*
        from record_ledger.record_events as l
        union all
        select a.*
        from record_ledger.archived_record_events as a
    ) as e
    where e.pipeline_id = v_claim.pipeline_id and e.window_start_time = v_claim.window_start_time
        and (
            e.claim_token = v_claim.claim_token
            and e.event not in ('passed', 'passed_again', 'counts_waived', 'cancelled')
            or e.claim_token > v_claim.claim_token and e.event = 'passed_again'
        )
    order by e.event_no
    limit 1;
    return format(
        'claim token %s of pipeline %s, window %s, ended at %s: %s',
        v_claim.claim_token,
        v_claim.pipeline_id,
        record_ledger.local_time(v_claim.window_start_time, v_timezone),
        record_ledger.local_time(v_end.event_time, v_timezone),
        case
            when v_end.event = 'completed' then 'the record was completed'
            when v_end.event = 'failed' then 'the record was marked as failed'
            when v_end.event = 'released' then 'the record was released'
            when v_end.event = 'lease_expired' and v_end.detail ? 'reason'
                then format('%s took it back: %s', v_end.actor, v_end.detail ->> 'reason')
            when v_end.event = 'lease_expired' then 'its lease expired'
            when v_end.event = 'passed_again'
                then 'the run was passed the record again, with a newer token'
            else 'the record was ' || v_end.event
        end
    );
end
$$;
comment on function record_ledger.claim_loss(text, bigint, timestamptz) is
'Private. Why a claim token is not the current one of a record: one sentence.';
-- record_ledger.clock: the ledger's only source of time.
-- The server's clock at the moment of the call, not the transaction's start: leases must not begin in the past.
-- Read by: every routine and view, once per statement or per lock taken. Only a test database replaces it.
-- Rules: none.
create or replace function record_ledger.clock()
returns timestamptz
language sql
volatile
as $$
    select pg_catalog.clock_timestamp()
$$;
comment on function record_ledger.clock() is
'The instant at which the ledger judges: the server''s clock.';
-- record_ledger.config_keys: the keys of a config that the ledger reads.
-- All others are ignored and never stored: a team's config holds much else, passwords included.
-- Read by: known_config, is_same_config, warn_of_misspelt_keys.
-- Rules: none.
create or replace function record_ledger.config_keys()
returns text[]
language sql
immutable
as $$
    select array[
        'pipeline_id',
        'timezone',
        'x_time_back',
        'granularity',
        'default_record',
        'check_fields',
        'start_at',
        'max_active_records',
        'depends_on_past',
        'lease',
        'max_attempts',
        'retry_delay',
        'backfill_share',
        'required_counts',
        'source_retention',
        'at_risk_within',
        'pass_order',
        'recount_ages',
        'reopen_budget'
    ]
$$;
comment on function record_ledger.config_keys() is
'The keys of a config that the ledger reads; all others are ignored and not stored.';
-- record_ledger.config_problems: everything that is wrong with a config, one sentence each.
-- Each names the key, the value and what would be valid; empty when the config is valid.
-- Read by: read_config.
-- Rules: config_keys, ledger_columns, duration, near_names, required_counts_problems, retention_problems,
-- recount_problems, twofold_time, json_problem.
create or replace function record_ledger.config_problems(
    config jsonb,
    -- The pipeline is registered: it keeps its name, also where a later release refuses such a name.
    is_registered boolean default false,
    -- The zone was looked up for it before. That takes 11 ms, which two deployments in turn would pay in each call.
    is_known_zone boolean default false
)
returns text[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problems text[] := '{}';
    v_problem text;
    -- "at time zone" reads these names as abbreviations: the same offset all year round.
    v_ambiguous_zones constant text[] := '{CET,EET,MET,WET}';
    v_blank constant text := '[[:space:]' || case
        -- Those that no eye can see, and that not every locale calls a space.
        when getdatabaseencoding() = 'UTF8'
            then concat(
                chr(133), chr(160), chr(8192), '-', chr(8207), chr(8232), chr(8233), chr(8239),
                chr(8287), chr(8288), chr(12288), chr(65279)
            )
        else ''
    end || ']';
    v_record jsonb := config -> 'default_record';
    v_keys text[] := '{}';
    v_key text;
    v_value jsonb;
    v_near text[];
    v_duration interval;
    v_id_keys integer := 0;
begin
    if jsonb_typeof(config) is distinct from 'object' then
        return array[
            format(
                'config: %s is no object; give the keys of final_config',
                coalesce(left(config::text, 80), 'null')
            )
        ];
    end if;

    -- Nothing else is looked at then: each further look would cost as much as the config is long or deep.
    if octet_length(config::text) > 262144 then
        return array[format(
            'config: it is %s bytes of JSON; give 262144 at most', octet_length(config::text)
        )];
    end if;
    v_problem := record_ledger.json_problem(v_record, 262144);
    if v_problem is not null then
        return array[format('default_record: it %s', v_problem)];
    end if;

    -- timezone
    v_value := config -> 'timezone';
    if v_value is null then
        v_problems := v_problems
            || 'timezone: missing; give an IANA name such as "Europe/Berlin"'::text;
    elsif jsonb_typeof(v_value) <> 'string'
        or not is_known_zone and not exists (
            select
            from pg_catalog.pg_timezone_names as z
            where z.name = config ->> 'timezone'
        )
    then
        v_near := record_ledger.near_names(
            config ->> 'timezone',
            array(
                select z.name
                from pg_catalog.pg_timezone_names as z
                where z.name !~ '^(posix|right)/' and z.name <> all (v_ambiguous_zones)
            )
        );
        v_problems := v_problems || format(
            'timezone: %s is no time zone that the server knows; %s', left(v_value::text, 80),
            case cardinality(v_near)
                when 0 then 'give an IANA name such as "Europe/Berlin"'
                else 'did you mean "' || array_to_string(v_near, '" or "') || '"?'
            end
        );
    elsif config ->> 'timezone' = any (v_ambiguous_zones) then
        v_problems := v_problems || format(
            'timezone: %s is the name of a zone and an abbreviation for another one, which has no '
            'summer time; give a place such as "Europe/Berlin"',
            v_value
        );
    end if;

    -- durations
    for v_key in
        select unnest(
            array[
                'x_time_back', 'granularity', 'lease', 'retry_delay',
                'source_retention', 'at_risk_within'
            ]
        )
    loop
        v_value := config -> v_key;
        v_duration := case jsonb_typeof(v_value)
            when 'string' then record_ledger.duration(config ->> v_key)
        end;
        if v_value is null then
            if v_key in ('x_time_back', 'granularity') then
                v_problems := v_problems || format(
                    '%s: missing; give a duration such as %s', v_key,
                    case v_key when 'granularity' then '"2h"' else '"1d"' end
                );
            end if;
        elsif v_duration is null then
            v_problems := v_problems || format(
                '%s: %s is no duration; %s',
                v_key,
                left(v_value::text, 80),
                case
                    when jsonb_typeof(v_value) = 'string'
                        and v_value::text ~ '^"[^P]*[0-9[:space:]]M[sS]?([^[:alpha:]]|$)'
                        then 'an upper-case M may mean minutes or months: "1m" is a minute, and '
                            'months are not valid; give units w, d, h, m, s, ms or us'
                            || case v_key
                                when 'granularity' then ', whole seconds from "1s" to "1d"'
                                else ''
                            end
                    else 'give units, such as "1d", "1d2h30m20s" or "PT26H" '
                        '(no months, years or bare numbers)'
                end
            );
        elsif v_key = 'granularity'
            and (v_duration < interval '1 second' or v_duration > interval '24:00:00'
                or extract(second from v_duration) <> floor(extract(second from v_duration)))
        then
            v_problems := v_problems || format(
                'granularity: %s is out of range; give whole seconds from "1s" to "1d"', v_value
            );
        elsif v_duration < interval '0' or v_duration > interval '876000 hours' then
            v_problems := v_problems || format(
                '%s: %s is out of range; give "0s" to "36500d"', v_key, v_value
            );
        elsif v_key = 'lease' and v_duration < interval '1 second' then
            v_problems := v_problems || format(
                'lease: %s is too short; give at least "1s"', v_value
            );
        end if;
    end loop;

    -- whole numbers and switches
    for v_key in select unnest(array['max_active_records', 'max_attempts']) loop
        v_value := config -> v_key;
        if v_value is not null
            and (
                jsonb_typeof(v_value) <> 'number'
                or v_value::text !~ '^[0-9]{1,9}([.]0+)?$'
                or v_value::text::numeric < 1
            )
        then
            v_problems := v_problems || format(
                '%s: %s is no whole number from 1 to 999999999', v_key, left(v_value::text, 80)
            );
        end if;
    end loop;
    v_value := config -> 'depends_on_past';
    if v_value is not null and jsonb_typeof(v_value) <> 'boolean' then
        v_problems := v_problems || format(
            'depends_on_past: %s is neither true nor false', left(v_value::text, 80)
        );
    end if;
    v_value := config -> 'backfill_share';
    if v_value is not null and jsonb_typeof(v_value) <> 'number' then
        v_problems := v_problems || format(
            'backfill_share: %s is no number; give one from 0 to 1', left(v_value::text, 80)
        );
    elsif v_value::numeric not between 0 and 1 then
        v_problems := v_problems || format(
            'backfill_share: %s is out of range; give a number from 0 to 1', left(v_value::text, 80)
        );
    elsif v_value::numeric > 0 and config -> 'depends_on_past' = 'true' then
        v_problems := v_problems || format(
            'backfill_share: %s goes with no depends_on_past, which passes strictly in order; '
            'leave one of them out',
            left(v_value::text, 80)
        );
    end if;

    v_problems := v_problems
        || record_ledger.retention_problems(config) || record_ledger.recount_problems(config);

    -- start_at
    v_value := config -> 'start_at';
    if v_value is not null and record_ledger.start_instant(v_value #>> '{}', 'UTC') is null then
        v_problems := v_problems || format(
            'start_at: %s is no time; give ISO 8601 of the years 1900 to 9000, '
            'such as "2026-01-01", "2026-01-01T06:00" '
            'or "2026-01-01T06:00+01:00"',
            left(v_value::text, 80)
        );
    elsif jsonb_typeof(v_value) = 'string'
        -- A zone that the server does not know has no clocks to ask.
        and not exists (select from unnest(v_problems) as f where starts_with(f, 'timezone: '))
    then
        v_problems := v_problems || array_remove(
            array[
                'start_at: '
                || record_ledger.twofold_time(config ->> 'start_at', config ->> 'timezone')
                || '; give the one that is meant, with its offset'
            ],
            null
        );
    end if;

    -- default_record and the pipeline's name
    if v_record is null then
        v_problems := v_problems
            || 'default_record: missing; give an object such as {"pipeline_id": "orders"}'::text;
    elsif jsonb_typeof(v_record) <> 'object' then
        v_problems := v_problems || format(
            'default_record: %s is no object; give one such as {"pipeline_id": "orders"}',
            left(v_record::text, 80)
        );
    else
        v_keys := array(select k from jsonb_object_keys(v_record) as k order by k);
        foreach v_key in array v_keys loop
            if v_key <> 'pipeline_id' and v_key = any (record_ledger.ledger_columns()) then
                v_problems := v_problems || format(
                    'default_record: "%s" is a column of the ledger; give the field another name '
                    '(its value is %s)',
                    v_key, left((v_record -> v_key)::text, 80)
                );
            elsif v_key = '' then
                v_problems := v_problems || format(
                    'default_record: "" is no field name (its value is %s); give the field a name',
                    left((v_record -> '')::text, 80)
                );
            elsif octet_length(v_key) > 255 then
                v_problems := v_problems || format(
                    'default_record: the field name "%s..." is %s bytes long; give 255 at most',
                    left(v_key, 80), octet_length(v_key)
                );
            end if;
        end loop;
    end if;
    foreach v_value in array array_remove(
        array[config -> 'pipeline_id', v_record -> 'pipeline_id'], null
    ) loop
        v_id_keys := v_id_keys + 1;
        if jsonb_typeof(v_value) <> 'string'
            or v_value #>> '{}' !~ '[^[:space:]]'
            or octet_length(v_value #>> '{}') > 255
            or v_value #>> '{}' ~ '[{][{%#]'
        then
            v_problems := v_problems || format(
                'pipeline_id: %s is no pipeline name; '
                'give a text of 1 to 255 bytes without templates',
                left(v_value::text, 80)
            );
        elsif v_value #>> '{}' ~ concat('^', v_blank, '|', v_blank, '$') and not is_registered
        then
            -- It would look like another pipeline of the same name.
            v_problems := v_problems || format(
                'pipeline_id: %s begins or ends with a blank; give the name without it',
                left(v_value::text, 80)
            );
        end if;
    end loop;
    if v_id_keys = 0 then
        v_problems := v_problems || 'pipeline_id: missing; put it into default_record'::text;
    elsif config -> 'pipeline_id' <> v_record -> 'pipeline_id' then
        v_problems := v_problems || format(
            'pipeline_id: the config says %s and its default_record %s; give it once',
            left((config -> 'pipeline_id')::text, 80), left((v_record -> 'pipeline_id')::text, 80)
        );
    end if;

    -- check_fields
    v_value := config -> 'check_fields';
    if v_value is not null and jsonb_typeof(v_value) <> 'array' then
        v_problems := v_problems || format(
            'check_fields: %s is no list; give field names such as ["source_name"]',
            left(v_value::text, 80)
        );
    -- Each record that is built is asked for each of them.
    elsif jsonb_array_length(v_value) > 1000 then
        v_problems := v_problems || format(
            'check_fields: %s fields are too many; give at most 1000', jsonb_array_length(v_value)
        );
    elsif v_value is not null then
        v_keys := array_remove(v_keys, 'pipeline_id') || array[
            'pipeline_id',
            'target_day',
            'window_start_time',
            'window_end_time',
            'time_interval'
        ];
        for v_value in select e.element from jsonb_array_elements(v_value) as e (element) loop
            if jsonb_typeof(v_value) <> 'string' or v_value #>> '{}' <> all (v_keys) then
                -- For the first ones only: to look among a thousand names takes as long as a second.
                v_near := case
                    when cardinality(v_problems) < 3
                        then record_ledger.near_names(v_value #>> '{}', v_keys)
                    else '{}'
                end;
                v_problems := v_problems || format(
                    'check_fields: %s is no field of default_record; %s', left(v_value::text, 80),
                    case
                        when cardinality(v_near) > 0
                            then 'did you mean "' || array_to_string(v_near, '" or "') || '"?'
                        else record_ledger.shortened(
                            'give one of "' || array_to_string(v_keys, '", "') || '"', 2000
                        )
                    end
                );
            end if;
        end loop;
    end if;
    return v_problems
        || record_ledger.required_counts_problems(config -> 'required_counts');
end
$$;
comment on function record_ledger.config_problems(jsonb, boolean, boolean) is
'Everything that is wrong with a config, one sentence each, naming the key, the value and what would be valid.';
-- record_ledger.configured: the row that a pipeline has once a config is in force; validates it (RL001).
-- All but the config stays: whether it is paused, when it was registered. Writes nothing.
-- Once there are records, start_at is left as it was: it said where the first of them starts. Another one is answered
-- with a notice, which is the same in each call, so that a program can give it once.
-- Read by: register_store_and_pass, register_config.
-- Rules: known_config, read_config, missing_fields, last_window.
create or replace function record_ledger.configured(
    old record_ledger.pipeline, config jsonb
)
returns record_ledger.pipeline
language plpgsql
stable
as $$
declare
    p record_ledger.pipeline := record_ledger.read_config(record_ledger.known_config(config));
begin
    p.missing_fields := record_ledger.missing_fields(p.fields, p.check_fields);
    p.fields_version := 1;
    if old.pipeline_id is null then
        return p;
    end if;
    p.config_version := old.config_version + 1;
    if p.fields = old.fields and p.check_fields = old.check_fields then
        p.fields_version := old.fields_version;
        p.filled_from := old.filled_from;
    else
        p.fields_version := p.config_version;
    end if;
    p.paused_at := old.paused_at;
    p.paused_by := old.paused_by;
    p.pause_reason := old.pause_reason;
    p.is_retired := old.is_retired;
    p.owner_role := old.owner_role;
    -- Another zone has cut no window yet.
    p.zone_since := case when p.timezone = old.timezone then old.zone_since end;
    p.marks_void_at := old.marks_void_at;
    p.created_at := old.created_at;
    p.updated_at := old.updated_at;
    if exists (select from record_ledger.last_window(p.pipeline_id)) then
        perform record_ledger.note_start_at(old, config);
        p.start_at := old.start_at;
        p.config := p.config - 'start_at';
        if old.config ? 'start_at' then
            p.config := p.config || jsonb_build_object('start_at', old.config -> 'start_at');
        end if;
    end if;
    return p;
end
$$;
comment on function record_ledger.configured(record_ledger.pipeline, jsonb) is
'Private. The row that a pipeline has once a config is in force; raises RL001 with all problems in one error.';
-- record_ledger.count_tolerance: by how many rows a count may be off, as a config's tolerance says.
-- '5 rows' whatever the count, '0.1%' of the count it is compared with; null when the text is no tolerance.
-- Read by: required_counts_problems, counts_problem.
-- Rules: units are required, and 100% is the most. Types are exact (README.md, Names).
create or replace function record_ledger.count_tolerance(tolerance text, row_count bigint)
returns numeric
language sql
immutable strict
as $$
    select case
        -- It stands in sentences as it is written, blanks included.
        when octet_length(tolerance) > 255 then null
        when tolerance ~ '^[[:space:]]*[0-9]{1,18}[[:space:]]*rows?[[:space:]]*$'
            then substring(tolerance from '[0-9]+')::numeric
        when tolerance ~ '^[[:space:]]*[0-9]{1,3}([.][0-9]{1,9})?[[:space:]]*%[[:space:]]*$'
            and substring(tolerance from '[0-9.]+')::numeric <= 100::numeric
            then substring(tolerance from '[0-9.]+')::numeric
                * row_count::numeric / 100::numeric
    end
$$;
comment on function record_ledger.count_tolerance(text, bigint) is
'How many rows a tolerance such as "5 rows" or "0.1%" allows a count to be off; null when the text is none.';
-- record_ledger.counts_problem: why the counts of a claim do not suffice to complete its record; null when they do.
-- Judged by the newest observation of each required stage that was written under this claim; an earlier claim's counts
-- only once they are adopted: what a run counted before it lost its claim says nothing about what came after.
-- Each stage may be off from the first one by the tolerance. By the config in force; null when it asks for nothing.
-- Read by: check_counts, open_counts_problem. Rules: count_tolerance.
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
-- record_ledger.day_coverage: how the windows of a pipeline cover a local day, the archive included.
-- The day is [its midnight, the next one) of the zone in force, and windows cover it wherever they begin and end. One
-- is published when a generation of it was completed, also while a later one is under way; done when it is COMPLETED or
-- WAIVED. All counts are of windows that begin in the day; counts of rows are those of published generations.
-- Read by: is_day_sealed, daily_coverage.
-- Rules: day_start. Windows never overlap, so they cover the day when their lengths within it add up to its own.
create or replace function record_ledger.day_coverage(
    p record_ledger.pipeline,
    local_date date,
    out day_start_time timestamptz,
    out day_end_time timestamptz,
    out first_window_start_time timestamptz,
    out window_count bigint,
    out published_count bigint,
    out waived_count bigint,
    out lost_count bigint,
    out open_count bigint,
    out covered_seconds numeric,
    out is_published boolean,
    out is_sealed boolean,
    out counts jsonb
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    v_day_seconds numeric;
    v_done_seconds numeric;
    -- The window that begins before the day and ends within it or after it.
    v_across record;
    v_across_seconds numeric;
begin
    day_start_time := record_ledger.day_start(day_coverage.local_date, p.timezone);
    day_end_time := record_ledger.day_start(day_coverage.local_date + 1, p.timezone);
    v_day_seconds := extract(epoch from day_end_time - day_start_time);
    with windows as materialized (
        select
            r.window_start_time,
            extract(
                epoch from least(r.window_end_time, day_coverage.day_end_time) - r.window_start_time
            ) as seconds,
            r.status,
            r.published_generation,
            r.last_event,
            r.last_detail,
            -- The claim that completed the published generation.
            case
                when r.status = 'COMPLETED' then r.claim_token
                when r.published_generation is not null
                    then (
                        select max(e.claim_token)
                        from (
                            select l.claim_token, l.generation, l.event
                            from record_ledger.record_event as l
                            where l.pipeline_id = p.pipeline_id
                                and l.window_start_time = r.window_start_time
                            union all
                            select l.claim_token, l.generation, l.event
                            from record_ledger.archived_record_event as l
                            where l.pipeline_id = p.pipeline_id
                                and l.window_start_time = r.window_start_time
                        ) as e
                        where e.generation = r.published_generation and e.event = 'completed'
                    )
            end as claim_token
        from (
            select
                l.window_start_time,
                l.window_end_time,
                l.status,
                l.published_generation,
                l.last_event,
                l.last_detail,
                l.claim_token
            from record_ledger.pipeline_records as l
            where l.pipeline_id = p.pipeline_id
                and l.window_start_time >= day_coverage.day_start_time
                and l.window_start_time < day_coverage.day_end_time
            union all
            select
                l.window_start_time,
                l.window_end_time,
                l.status,
                l.published_generation,
                l.last_event,
                l.last_detail,
                l.claim_token
            from record_ledger.archived_records as l
            where l.pipeline_id = p.pipeline_id
                and l.window_start_time >= day_coverage.day_start_time
                and l.window_start_time < day_coverage.day_end_time
        ) as r
    ),

    -- The newest count of each stage under that claim, where the record is.
    observed as (
        select distinct on (o.window_start_time, o.stage) o.stage, o.row_count
        from (
            select q.window_start_time, q.stage, q.observation_no, q.row_count, q.claim_token
            from record_ledger.record_observation as q
            where q.pipeline_id = p.pipeline_id
                and q.window_start_time >= day_coverage.day_start_time
                and q.window_start_time < day_coverage.day_end_time
            union all
            select q.window_start_time, q.stage, q.observation_no, q.row_count, q.claim_token
            from record_ledger.archived_record_observation as q
            where q.pipeline_id = p.pipeline_id
                and q.window_start_time >= day_coverage.day_start_time
                and q.window_start_time < day_coverage.day_end_time
        ) as o
        join windows as w
            on w.window_start_time = o.window_start_time and w.claim_token = o.claim_token
        order by o.window_start_time, o.stage, o.observation_no desc
    )

    select
        min(w.window_start_time),
        count(*),
        count(w.published_generation),
        count(*) filter (where w.status = 'WAIVED'),
        count(*) filter (where w.last_event = 'waived' and w.last_detail ->> 'reason' = 'lost'),
        count(*) filter (where w.status not in ('COMPLETED', 'WAIVED')),
        coalesce(
            sum(w.seconds) filter (
                where w.published_generation is not null or w.status = 'WAIVED'
            ),
            0
        ),
        coalesce(sum(w.seconds) filter (where w.status in ('COMPLETED', 'WAIVED')), 0),
        coalesce(
            (
                select jsonb_object_agg(s.stage, s.counted)
                from (
                    select
                        o.stage,
                        jsonb_build_object('rows', sum(o.row_count), 'windows', count(*)) as counted
                    from observed as o
                    group by o.stage
                ) as s
            ),
            '{}'
        )
    into
        first_window_start_time,
        window_count,
        published_count,
        waived_count,
        lost_count,
        open_count,
        covered_seconds,
        v_done_seconds,
        counts
    from windows as w;
    if first_window_start_time > day_start_time or first_window_start_time is null then
        -- Cut with another zone, or with other data of this one: a window may lie across the midnight.
        select r.window_start_time, r.window_end_time, r.status into v_across
        from record_ledger.record as r
        where r.pipeline_id = p.pipeline_id
            and r.window_start_time < day_coverage.day_start_time
        order by r.window_start_time desc
        limit 1;
        if not found then
            select a.window_start_time, a.window_end_time, a.status into v_across
            from record_ledger.archived_record as a
            where a.pipeline_id = p.pipeline_id
                and a.window_start_time < day_coverage.day_start_time
            order by a.window_start_time desc
            limit 1;
        end if;
        if v_across.window_end_time > day_start_time then
            v_across_seconds := extract(
                epoch from least(v_across.window_end_time, day_end_time) - day_start_time
            );
            if v_across.status in ('COMPLETED', 'WAIVED') then
                v_done_seconds := v_done_seconds + v_across_seconds;
                covered_seconds := covered_seconds + v_across_seconds;
            elsif exists (
                select
                from record_ledger.pipeline_records as l
                where l.pipeline_id = p.pipeline_id
                    and l.window_start_time = v_across.window_start_time
                    and l.published_generation is not null
            ) then
                covered_seconds := covered_seconds + v_across_seconds;
            end if;
        end if;
    end if;
    is_published := covered_seconds = v_day_seconds;
    is_sealed := v_done_seconds = v_day_seconds;
end
$$;
comment on function record_ledger.day_coverage(record_ledger.pipeline, date) is
'How the windows of a pipeline cover a local day, archived ones included.';
-- record_ledger.day_start: the first instant of a local date, the ledger's local midnight.
-- Also where 00:00 does not exist (Cairo, Beirut, Santiago, Havana), happens twice (Azores) or a whole date is skipped.
-- Read by: local_day, next_window, windows_from, backfill_windows, first_window_start.
-- Rules: local_instant.
create or replace function record_ledger.day_start(local_date date, timezone text)
returns timestamptz
language sql
immutable
as $$
    select record_ledger.local_instant(local_date::timestamp, day_start.timezone)
$$;
comment on function record_ledger.day_start(date, text) is
'The first instant of a local date in a time zone; consecutive ones tile time exactly.';
-- record_ledger.days_with_windows: the local days of a pipeline, from its first window's to the last of its newest one.
-- Every date between them, whether its windows are in the ledger or in the archive.
-- Read by: daily_coverage.
-- Rules: local_day.
create or replace function record_ledger.days_with_windows(p record_ledger.pipeline)
returns table (local_date date)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
    v_first timestamptz;
    v_last timestamptz;
begin
    select a.window_start_time into v_first
    from record_ledger.archived_record as a
    where a.pipeline_id = p.pipeline_id
    order by a.window_start_time
    limit 1;
    if v_first is null then
        select r.window_start_time into v_first
        from record_ledger.record as r
        where r.pipeline_id = p.pipeline_id
        order by r.window_start_time
        limit 1;
    end if;
    -- A window that was cut with another zone may reach into the day after that of its start.
    select l.window_end_time - interval '1 microsecond' into v_last
    from record_ledger.last_window(p.pipeline_id) as l;
    return query
    select record_ledger.local_day(v_first, p.timezone) + n
    from generate_series(
        0,
        record_ledger.local_day(v_last, p.timezone) - record_ledger.local_day(v_first, p.timezone)
    ) as n;
end
$$;
comment on function record_ledger.days_with_windows(record_ledger.pipeline) is
'The local days of a pipeline from its first window to its newest one, archived ones included.';
-- record_ledger.deciding_record: the open record whose verdict a pass exits with when it passes nothing.
-- The oldest pending one, else the oldest in progress, else the oldest failed one; null when none is open.
-- A record whose lease has run out comes as the next pass will leave it: pending again, or failed. Lost ones are passed
-- over, as the next pass waives them.
-- Read by: next_answer. Rules: stuck_heads, expired_claims, retry_time.
create or replace function record_ledger.deciding_record(
    p record_ledger.pipeline,
    -- The oldest record that is pending and complete; null when there is none.
    oldest_pending timestamptz,
    first_active timestamptz,
    -- Before it no lease ends; null when none has run out.
    lease_mark timestamptz,
    lost_before timestamptz,
    as_of timestamptz
)
returns record_ledger.record
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    r record_ledger.record;
    v_start timestamptz := oldest_pending;
    v_failed timestamptz;
    v_expired timestamptz[] := '{}';
    v_other record;
begin
    if lease_mark is not null then
        v_expired := array(
            select e.window_start_time
            from record_ledger.expired_claims(p.pipeline_id, deciding_record.lease_mark, as_of)
                as e
        );
        select e.* into r
        from record_ledger.expired_claims(p.pipeline_id, deciding_record.lease_mark, as_of) as e
        where e.window_start_time >= coalesce(deciding_record.lost_before, '-infinity')
            and e.attempt < p.max_attempts and e.cancellation is null
        order by e.window_start_time
        limit 1;
    end if;
    if p.fields_version > 1 or p.check_fields <> '{}' or v_start is null then
        select
            min(h.window_start_time) filter (where h.lane <> 'failed') as incomplete,
            min(h.window_start_time) filter (where h.lane = 'failed') as failed
        into v_other
        from record_ledger.stuck_heads(p.pipeline_id, deciding_record.lost_before) as h;
        v_start := least(v_start, v_other.incomplete);
    end if;
    if r.window_start_time < v_start or v_start is null and r.pipeline_id is not null then
        r.status := 'PENDING';
        r.retry_at := record_ledger.retry_time(
            r.lease_expires_at, r.attempt, r.window_end_time, p
        );
        r.last_detail := null;
        return r;
    end if;
    if v_start is null and first_active is not null then
        v_start := (
            select a.window_start_time
            from record_ledger.record as a
            where a.open_pipeline_id = p.pipeline_id and a.lane = 'active'
                and a.window_start_time >= deciding_record.first_active
                and a.window_start_time <> all (v_expired)
            order by a.window_start_time
            limit 1
        );
    end if;
    if v_start is null then
        v_start := least(
            v_other.failed,
            (
                select min(e.window_start_time)
                from unnest(v_expired) as e (window_start_time)
                where e.window_start_time >= coalesce(deciding_record.lost_before, '-infinity')
            )
        );
    end if;
    select o.* into r
    from record_ledger.record as o
    where o.pipeline_id = p.pipeline_id and o.window_start_time = v_start;
    if r.window_start_time = any (v_expired) then
        r.status := 'FAILED';
        r.last_detail := r.cancellation;
        r.updated_at := as_of;
    end if;
    return r;
end
$$;
comment on function record_ledger.deciding_record(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz
) is
'Private. The open record whose verdict a pass exits with when it passes nothing.';
-- record_ledger.deployed_release: the release of the ledger that is deployed here.
-- The newest one that was ever deployed: a deploy never goes back.
-- Read by: the doctor of the runner, analysts.
-- Rules: release_numbers.
create or replace function record_ledger.deployed_release()
returns text
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select d.release
    from record_ledger.deployment as d
    order by record_ledger.release_numbers(d.release) desc, d.deployed_at desc
    limit 1
$$;
comment on function record_ledger.deployed_release() is
'The release of the ledger that is deployed here.';
-- record_ledger.due_reason: the sentence for a pipeline without any open record, whose next window is not due yet.
-- The caller has set the time zone in force to that of the window. PostgreSQL takes this expression into the one
-- around it.
-- Read by: no_records_reason, store_new_and_pass_valid_record.
-- Rules: iso_time. Names are qualified (README.md, Names).
create or replace function record_ledger.due_reason(next_start timestamptz, x_time_back interval)
returns text
language sql
stable
as $$
    select pg_catalog.concat(
        'no record is open; the next window starts at ', record_ledger.iso_time(next_start),
        ' and is due after ', record_ledger.iso_time(next_start + x_time_back)
    )
$$;
comment on function record_ledger.due_reason(timestamptz, interval) is
'Private. The sentence for a pipeline without open records, whose next window is not due yet.';
-- record_ledger.due_windows: all windows from an instant on that are due, oldest first.
-- Due is a window that began before as_of - x_time_back; a retired pipeline has none. Reads no ledger rows.
-- Read by: new_windows, store_windows, windows_to_build.
-- Rules: windows_from.
create or replace function record_ledger.due_windows(
    p record_ledger.pipeline, from_time timestamptz, as_of timestamptz, max_windows integer
)
returns table (target_day date, window_start_time timestamptz, window_end_time timestamptz)
language sql
immutable
as $$
    select w.target_day, w.window_start_time, w.window_end_time
    from record_ledger.windows_from(
        from_time, as_of - (p).x_time_back, (p).granularity, (p).timezone, max_windows
    ) as w
    where not (p).is_retired
    order by w.window_start_time
$$;
comment on function record_ledger.due_windows(
    record_ledger.pipeline, timestamptz, timestamptz, integer
) is
'Private. The windows from an instant on that began before as_of - x_time_back, oldest first.';
-- record_ledger.duration: reads a config's duration ('1d', '1d2h30m20s', 'PT26H') as elapsed time.
-- Null when the text is no duration: bare numbers, months, years and infinity are none. 1d is 24 h on every day.
-- Units may be in any case but for M and MS, which others read as months: minutes are m, milliseconds ms.
-- Read by: config_problems, read_config, is_same_config, recount_ages, start_problem; status --fail-on of the runner.
-- Rules: units are required; a sign is read, and judged by the caller.
create or replace function record_ledger.duration(duration_text text)
returns interval
language plpgsql
immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    v_units constant text :=
        'weeks?|w|days?|d|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s|'
        'milliseconds?|ms|microseconds?|us';
begin
    -- It stands in sentences as it is written, blanks included.
    if octet_length(duration_text) > 255 or duration_text !~* (
            '^[[:space:]]*-?([0-9]+([.][0-9]+)?[[:space:]]*(' || v_units || ')[[:space:]]*)+$'
        )
        and duration_text !~ (
            '^P(?=[0-9]|T[0-9])([0-9]+W)?([0-9]+D)?'
            '(T(?=[0-9])([0-9]+H)?([0-9]+M)?([0-9]+([.][0-9]+)?S)?)?$'
        )
        or duration_text ~ '^[^P]*M[sS]?([^[:alpha:]]|$)'
    then
        return null;
    end if;
    -- As seconds only: an interval with a day part added to an instant would follow the session's time zone.
    -- A sign counts for the whole; PostgreSQL would give it to the first part, or to all, as IntervalStyle says.
    return pg_catalog.make_interval(
        secs => extract(epoch from ltrim(duration_text, '- ')::interval)::double precision
            * case when ltrim(duration_text) like '-%' then -1 else 1 end
    );
exception
    when invalid_datetime_format or interval_field_overflow or datetime_field_overflow
        or numeric_value_out_of_range then
        return null;
end
$$;
comment on function record_ledger.duration(text) is
'A duration with units as elapsed time (1d = 24 h); null when the text is none.';
-- record_ledger.earliest_open: the oldest open record of a pipeline, which holds up all later ones (depends_on_past).
-- Lost records hold up nothing, as the next pass waives them; one in progress does for as long as its lease runs.
-- Read by: next_answer.
-- Rules: stuck_heads.
create or replace function record_ledger.earliest_open(
    p record_ledger.pipeline,
    -- The oldest record that is pending and complete, of those that are not lost.
    oldest_pending timestamptz,
    first_active timestamptz,
    lost_before timestamptz,
    as_of timestamptz
)
returns timestamptz
language sql
stable
as $$
    select least(
        oldest_pending,
        (
            select min(h.window_start_time)
            from record_ledger.stuck_heads((p).pipeline_id, earliest_open.lost_before) as h
        ),
        case
            when earliest_open.lost_before is null then earliest_open.first_active
            else (
                select min(a.window_start_time)
                from record_ledger.record as a
                where a.open_pipeline_id = (p).pipeline_id and a.lane = 'active'
                    and a.window_start_time >= earliest_open.first_active
                    and (
                        a.lease_expires_at > earliest_open.as_of
                        or a.window_start_time >= earliest_open.lost_before
                    )
            )
        end
    )
$$;
comment on function record_ledger.earliest_open(
    record_ledger.pipeline, timestamptz, timestamptz, timestamptz, timestamptz
) is
'Private. The oldest open record of a pipeline that is not lost.';
-- record_ledger.edit_distance: how many letters two words differ by, case ignored.
-- Insertions, deletions, substitutions and swaps of neighbours count 1 each (optimal string alignment).
-- Read by: near_names.
-- Rules: none.
create or replace function record_ledger.edit_distance(left_word text, right_word text)
returns integer
language plpgsql
immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    v_left constant text[] := string_to_array(lower(left_word), null);
    v_right constant text[] := string_to_array(lower(right_word), null);
    v_width constant integer := coalesce(cardinality(v_right), 0);
    v_above integer[];
    v_row integer[] := array(select generate_series(0, v_width));
    v_two_above integer[];
begin
    for i in 1 .. coalesce(cardinality(v_left), 0) loop
        v_two_above := v_above;
        v_above := v_row;
        v_row := array[i];
        for j in 1 .. v_width loop
            v_row[j + 1] := least(
                v_above[j + 1] + 1,
                v_row[j] + 1,
                v_above[j] + (v_left[i] <> v_right[j])::integer,
                case
                    when i > 1 and j > 1
                        and v_left[i] = v_right[j - 1] and v_left[i - 1] = v_right[j]
                        then v_two_above[j - 1] + 1
                end
            );
        end loop;
    end loop;
    return v_row[v_width + 1];
end
$$;
comment on function record_ledger.edit_distance(text, text) is
'How many letters two words differ by, case ignored.';
-- record_ledger.enough_windows: from how many windows on lateness is told as a share.
-- Fewer say more about chance than about the source.
-- Read by: lateness, suggest_x_time_back.
-- Rules: none.
create or replace function record_ledger.enough_windows()
returns integer
language sql
immutable
as $$
    select 20
$$;
comment on function record_ledger.enough_windows() is
'From how many windows on lateness is told as a share.';
-- record_ledger.expected_claims: how records in progress are expected to come out of it, seen from an instant.
-- Those that others have to wait for, and those whose lease has run out.
-- While its lease runs, the run completes: run_duration after its pass, or where that is over already, with the lease.
-- Where the lease has run out, the next pass takes the record back or marks it failed. A cancelled claim ends as a
-- failed record.
-- Read by: planned_passes. Rules: retry_time, is_lost; collect_expired_leases does what is said here of expired leases.
create or replace function record_ledger.expected_claims(
    p record_ledger.pipeline,
    first_active timestamptz,
    lease_mark timestamptz,
    -- Of the leases that have run out, those that ended first: so many.
    most_expired integer,
    run_duration interval,
    as_of timestamptz
)
returns table (
    window_start_time timestamptz,
    is_historical boolean,
    busy_until timestamptz,
    -- When it can be passed again; null when it will not be.
    retry_at timestamptz,
    -- Neither completed nor passed again.
    is_stuck boolean
)
language sql
stable
as $$
    select
        r.window_start_time,
        r.is_historical,
        case
            -- The newest event of a record in progress is its pass: a heartbeat is none.
            when not l.is_lost and r.updated_at + run_duration > as_of
                then r.updated_at + run_duration
            else r.lease_expires_at
        end as busy_until,
        case
            when l.is_lost and l.comes_back
                then record_ledger.retry_time(
                    r.lease_expires_at, r.attempt, r.window_end_time, p
                )
        end as retry_at,
        (l.is_lost or r.cancellation is not null) and not l.comes_back as is_stuck
    from (
        (
            select e.*
            from record_ledger.record as e
            where e.open_pipeline_id = (p).pipeline_id and e.lane = 'active'
                and e.lease_expires_at >= coalesce(lease_mark, '-infinity')
                and e.lease_expires_at <= as_of
            order by e.lease_expires_at
            limit most_expired
        )
        union all
        -- What runs matters to nothing else.
        select a.*
        from record_ledger.record as a
        where ((p).max_active_records is not null or (p).depends_on_past)
            and a.open_pipeline_id = (p).pipeline_id and a.lane = 'active'
            and a.window_start_time >= coalesce(first_active, '-infinity')
            and a.lease_expires_at > as_of
    ) as r
    cross join lateral (
        select
            r.lease_expires_at <= as_of as is_lost,
            r.attempt < (p).max_attempts
            and r.cancellation is null
            and case
                when r.config_version >= (p).fields_version then r.missing_fields
                else (p).missing_fields
            end is null as comes_back
    ) as l
    -- The next pass waives it.
    where not (
        l.is_lost
        and record_ledger.is_lost(r.window_end_time, (p).source_retention, as_of)
    )
$$;
comment on function record_ledger.expected_claims(
    record_ledger.pipeline, timestamptz, timestamptz, integer, interval, timestamptz
) is
'Private. When each record in progress is expected to be completed, or to be passed again.';
-- record_ledger.expected_duration: how long a run of a pipeline takes, as measured; null when none was completed.
-- The median over the newest 100 completed passes, from the pass that drew the claim token to its completion.
-- Looks at the newest 1,000 passes at most: a pipeline that failed that often has no duration worth to plan with.
-- Read by: plan_runs. Rules: none.
create or replace function record_ledger.expected_duration(pipeline_id text)
returns interval
language sql
stable
as $$
    -- Seconds, because the difference of two instants has a day part, which would follow the session's time zone.
    select make_interval(secs => percentile_cont(0.5) within group (order by m.seconds))
    from (
        select extract(epoch from e.completed_at - e.passed_at)::double precision as seconds
        from (
            select c.claim_token, c.window_start_time
            from record_ledger.claim as c
            where c.pipeline_id = expected_duration.pipeline_id
            order by c.claim_token desc
            limit 1000
        ) as c
        cross join lateral (
            select
                min(e.event_time) filter (where e.event in ('passed', 'passed_again')) as passed_at,
                min(e.event_time) filter (where e.event = 'completed') as completed_at
            from (
                select r.event_time, r.event
                from record_ledger.record_event as r
                where r.pipeline_id = expected_duration.pipeline_id
                    and r.window_start_time = c.window_start_time
                    and r.claim_token = c.claim_token
                union all
                select a.event_time, a.event
                from record_ledger.archived_record_event as a
                where a.pipeline_id = expected_duration.pipeline_id
                    and a.window_start_time = c.window_start_time
                    and a.claim_token = c.claim_token
            ) as e
        ) as e
        where e.completed_at >= e.passed_at
        order by c.claim_token desc
        limit 100
    ) as m
$$;
comment on function record_ledger.expected_duration(text) is
'Private. The median duration of a pipeline''s newest completed passes; null when none was completed.';
-- record_ledger.expired_claims: the claims of a pipeline whose leases have run out; the ten that ended first at most.
-- So many does a pass take back, whatever number has expired: it stays as fast as ever after an outage, and each pass
-- adds one claim at most. A record whose lease has run out can be passed once it was taken back.
-- Read by: next_answer, next_candidate, deciding_record, lost_before, planned_passes, collect_expired_leases.
-- Rules: none.
create or replace function record_ledger.expired_claims(
    pipeline_id text,
    -- No lease ends before it; null when that is not known.
    lease_mark timestamptz,
    as_of timestamptz
)
returns setof record_ledger.record
language sql
stable
as $$
    select r.*
    from record_ledger.record as r
    where r.open_pipeline_id = expired_claims.pipeline_id and r.lane = 'active'
        and r.lease_expires_at >= coalesce(expired_claims.lease_mark, '-infinity')
        and r.lease_expires_at <= expired_claims.as_of
    order by r.lease_expires_at
    limit 10
$$;
comment on function record_ledger.expired_claims(text, timestamptz, timestamptz) is
'Private. The claims of a pipeline whose leases have run out, those that ended first; ten at most.';
-- record_ledger.first_look: what a pass looks at before anything else; no row where nothing was passed yet.
-- The newest claim with the marks that hold from now on, the record that the run is bound to, and, where the claim's
-- record stood alone and is finished, the one that comes next.
-- A row for each claim, and whoever asks takes the one with the greatest newest_token: without an order of its own
-- PostgreSQL takes it into the statement around it, and looks up only what that one names.
-- Read by: store_new_and_pass_valid_record, next_answer.
-- Rules: lane says which lanes there are.
create or replace function record_ledger.first_look(
    pipeline_id text,
    -- Marks of claims up to this token say nothing any more.
    marks_void_at bigint,
    granularity interval,
    run_id text
)
returns table (
    newest_token bigint,
    historical_credit numeric,
    -- No record of each lane starts before its mark; null when it is not known.
    waiting_mark timestamptz,
    active_mark timestamptz,
    historical_mark timestamptz,
    returned_mark timestamptz,
    retry_mark timestamptz,
    -- No lease ends before it; null when it is not known.
    lease_mark timestamptz,
    others_seen_at timestamptz,
    bound_window timestamptz,
    -- The end of the newest claim's record, if that stood alone and is finished, and the end of the next one, if it
    -- waits: it starts where that one ends. Nothing else is in progress then, and nothing pending but what waits
    -- behind; failed ones may be before it.
    line timestamptz[]
)
language sql
stable
as $$
    select
        c.claim_token,
        c.historical_credit,
        c.waiting_mark,
        c.active_mark,
        -- Runs bring records to these lanes, too: none that started before the first one that was in progress.
        case
            when c.historical_mark is not null
                and c.claim_token > coalesce(first_look.marks_void_at, 0)
                then least(c.historical_mark, c.active_mark)
        end,
        case
            when c.returned_mark is not null
                and c.claim_token > coalesce(first_look.marks_void_at, 0)
                then least(c.returned_mark, c.active_mark)
        end,
        case
            when c.retry_mark is not null
                and c.claim_token > coalesce(first_look.marks_void_at, 0)
                then least(c.retry_mark, c.active_mark)
        end,
        case when c.claim_token > coalesce(first_look.marks_void_at, 0) then c.lease_mark end,
        c.others_seen_at,
        (
            select b.window_start_time
            from record_ledger.claim as b
            where b.pipeline_id = first_look.pipeline_id and b.bound_run_id = first_look.run_id
        ),
        -- Most that stood not alone are told by that, and cost no look-up.
        case when c.active_mark = c.window_start_time then array(
            select case
                    when n.lane = 'waiting' and n.previous_window_start_time = c.window_start_time
                        or n.lane is null and n.is_alone
                        and n.claim_token = c.claim_token
                        and n.claim_token > coalesce(first_look.marks_void_at, 0)
                        then n.window_end_time
                end
            from record_ledger.record as n
            where n.pipeline_id = first_look.pipeline_id
                and n.window_start_time >= c.window_start_time
                -- An index is read a page at a time, and thousands may wait behind the next one.
                and n.window_start_time <= c.window_start_time + first_look.granularity * 2
            order by n.window_start_time
        ) end
    from record_ledger.claim as c
    where c.pipeline_id = first_look.pipeline_id
$$;
comment on function record_ledger.first_look(text, bigint, interval, text) is
'Private. What a pass looks at before anything else: the newest claim with its marks, and what comes next if its record stood alone.';
-- record_ledger.first_open: the first record that waits in order, and the first of the other lanes, from their marks.
-- Where no other lane holds a record, that record comes next. A table of one row, which PostgreSQL takes into the
-- statement around it, without the look-up for a column that this one does not name.
-- Read by: store_new_and_pass_valid_record, next_answer.
-- Rules: first_look has the marks; lane says which lanes there are.
create or replace function record_ledger.first_open(
    pipeline_id text,
    waiting_mark timestamptz,
    -- Null where the other lanes are not to be looked into.
    active_mark timestamptz,
    granularity interval
)
returns table (
    -- The bounds of the first record in the lane 'waiting', if it starts within two granularities of the mark. An index
    -- is read a page at a time, and thousands may wait behind it.
    waiting timestamptz[],
    -- The first lane before 'waiting' that holds a record; null when none does.
    first_lane text
)
language sql
stable
as $$
    select
        (
            select array[w.window_start_time, w.window_end_time]
            from record_ledger.record as w
            where w.open_pipeline_id = first_open.pipeline_id and w.lane = 'waiting'
                and w.window_start_time >= first_open.waiting_mark
                and w.window_start_time <= first_open.waiting_mark + first_open.granularity * 2
            order by w.window_start_time
            limit 1
        ),
        -- With a null to compare with, PostgreSQL 16 would walk the whole lane.
        case when first_open.active_mark is not null then (
            select o.lane
            from record_ledger.record as o
            where o.open_pipeline_id = first_open.pipeline_id and o.lane < 'waiting'
                and (o.lane, o.window_start_time) >= ('active', first_open.active_mark)
            order by o.lane, o.window_start_time
            limit 1
        ) end
$$;
comment on function record_ledger.first_open(text, timestamptz, timestamptz, interval) is
'Private. The first waiting record of a pipeline, and the first of its other lanes that holds a record.';
-- record_ledger.first_waiting: the bounds of the first record in a pipeline's lane 'waiting'.
-- Null when there is none.
-- Read by: next_answer, store_new_and_pass_valid_record.
-- Rules: none.
create or replace function record_ledger.first_waiting(
    pipeline_id text,
    -- No record of the lane starts before it; null when that is not known.
    waiting_mark timestamptz
)
returns timestamptz[]
language sql
stable
as $$
    select array[w.window_start_time, w.window_end_time]
    from record_ledger.record as w
    where w.open_pipeline_id = first_waiting.pipeline_id and w.lane = 'waiting'
        and w.window_start_time >= coalesce(first_waiting.waiting_mark, '-infinity')
    order by w.window_start_time
    limit 1
$$;
comment on function record_ledger.first_waiting(text, timestamptz) is
'Private. The bounds of the first record of a pipeline''s lane waiting; null when there is none.';
-- record_ledger.first_window_start: where the first window of a pipeline without records starts.
-- At start_at; without one at the first instant of the target day of (as_of - x_time_back).
-- Read by: next_window_start, store_windows, register_store_and_pass, pipeline_progress.
-- Rules: local_day, day_start.
create or replace function record_ledger.first_window_start(
    p record_ledger.pipeline, as_of timestamptz
)
returns timestamptz
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce(
        p.start_at,
        record_ledger.day_start(
            record_ledger.local_day(as_of - p.x_time_back, p.timezone), p.timezone
        )
    );
end
$$;
comment on function record_ledger.first_window_start(record_ledger.pipeline, timestamptz) is
'Where the first window of a pipeline without records starts.';
-- record_ledger.half_of_time_left: half of the time, in whole seconds, for which a window's source data is still there.
-- The longest that a record may be kept from its runs: a wait never loses a record. Null without a source_retention.
-- Read by: retry_time, postponement.
-- Rules: none. Types are exact and names qualified (README.md, Names).
create or replace function record_ledger.half_of_time_left(
    window_end_time timestamptz, p record_ledger.pipeline, as_of timestamptz
)
returns numeric
language sql
-- Not immutable, though elapsed time is: adding to an instant counts as stable, and only then is the call inlined.
stable
as $$
    select case
        when (p).source_retention is not null then greatest(
            pg_catalog.floor(
                extract(epoch from window_end_time + (p).source_retention - as_of) / 2::numeric
            ),
            0
        )
    end
$$;
comment on function record_ledger.half_of_time_left(
    timestamptz, record_ledger.pipeline, timestamptz
) is
'Half of the seconds for which a window''s source data is still there; null when nothing says how long it is kept.';
-- record_ledger.incomplete_lanes: the lanes of a pipeline's incomplete records, one for each config that built some.
-- Each is found by one look-up in the index, however many records it holds; most pipelines have none.
-- Read by: stuck_heads, next_answer, next_candidate, windows_to_build, planned_passes, waive_lost_records.
-- Rules: lane names them.
create or replace function record_ledger.incomplete_lanes(
    pipeline_id text,
    -- Only those of records that are outdated at this fields_version; null for all.
    fields_version integer default null
)
returns setof text
language plpgsql
stable
as $$
declare
    v_end constant text := 'incomplete' || coalesce(lpad(fields_version::text, 10, '0'), 'i');
    v_lane text := 'incomplete';
begin
    loop
        v_lane := (
            select r.lane
            from record_ledger.record as r
            where r.open_pipeline_id = incomplete_lanes.pipeline_id
                and r.lane > v_lane and r.lane < v_end
            order by r.lane
            limit 1
        );
        exit when v_lane is null;
        return next v_lane;
    end loop;
end
$$;
comment on function record_ledger.incomplete_lanes(text, integer) is
'Private. The lanes of a pipeline''s incomplete records, one for each config that they were built with.';
-- record_ledger.instant: reads an ISO 8601 time with an offset; null when the text is none.
-- Of the years 1900 to 9000: what is built on a time is a window, and drivers read no time of a year after 9999.
-- No other form: PostgreSQL would read 'tomorrow' and 'infinity' too, and '01/02/03' as the session's DateStyle says.
-- Read by: start_instant, built_problem.
-- Rules: none.
create or replace function record_ledger.instant(instant_text text)
returns timestamptz
language plpgsql
stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    if instant_text
        ~ (
            '^((19|[2-8][0-9])[0-9]{2}|9000)-[0-9]{2}-[0-9]{2}'
            '[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?'
            '(Z|[+-][0-9]{2}(:?[0-9]{2}){0,2})$'
        )
    then
        return instant_text::timestamptz;
    end if;
    return null;
exception
    when datetime_field_overflow or invalid_datetime_format
        or invalid_time_zone_displacement_value then
        return null;
end
$$;
comment on function record_ledger.instant(text) is
'An ISO 8601 time with an offset as an instant; null when the text is none.';
-- record_ledger.is_at_risk: will the source data of a window be gone soon?
-- From at_risk_within before window_end_time + source_retention on; never without a source_retention.
-- Read by: next_candidate, planned_passes, records_at_risk, pipeline_progress.
-- Rules: none.
create or replace function record_ledger.is_at_risk(
    window_end_time timestamptz, p record_ledger.pipeline, as_of timestamptz
)
returns boolean
language sql
-- Not immutable, though elapsed time is: adding to an instant counts as stable, and only then is the call inlined.
stable
as $$
    select window_end_time + ((p).source_retention - (p).at_risk_within) <= as_of is true
$$;
comment on function record_ledger.is_at_risk(
    timestamptz, record_ledger.pipeline, timestamptz
) is
'Whether a window''s source data is gone or will be within at_risk_within.';
-- record_ledger.is_complete: is every check_field filled?
-- A record without check_fields is complete.
-- Read by: analysts; the routines keep the names of what is missing instead.
-- Rules: missing_fields.
create or replace function record_ledger.is_complete(fields jsonb, check_fields text[])
returns boolean
language sql
immutable
as $$
    select record_ledger.missing_fields(fields, check_fields) is null
$$;
comment on function record_ledger.is_complete(jsonb, text[]) is
'Whether every check_field is non-empty in the fields.';
-- record_ledger.is_completed_by: did this very claim complete its record, and that of the window when one is named?
-- Also when the record was reopened, or archived, since.
-- Read by: complete_records.
-- Rules: none.
create or replace function record_ledger.is_completed_by(
    pipeline_id text, claim_token bigint, window_start_time timestamptz
)
returns boolean
language plpgsql
stable
as $$
declare
    v_start timestamptz;
begin
    select c.window_start_time into v_start
    from record_ledger.claim as c
    where c.pipeline_id = is_completed_by.pipeline_id
        and c.claim_token = is_completed_by.claim_token;
    if v_start is null or v_start <> is_completed_by.window_start_time then
        return false;
    end if;
    return exists (
        select
        from record_ledger.record_event as e
        where e.pipeline_id = is_completed_by.pipeline_id and e.window_start_time = v_start
            and e.claim_token = is_completed_by.claim_token and e.event = 'completed'
    ) or exists (
        select
        from record_ledger.archived_record_event as e
        where e.pipeline_id = is_completed_by.pipeline_id and e.window_start_time = v_start
            and e.claim_token = is_completed_by.claim_token and e.event = 'completed'
    );
end
$$;
comment on function record_ledger.is_completed_by(text, bigint, timestamptz) is
'Private. Whether a claim completed its record, and that of the window when one is named.';
-- record_ledger.is_in_range: does a whole window lie in [from_time, to_time)?
-- A window that only partly does is not the operator's, who said from when and until when.
-- Read by: waive_range, reopen_range, expire_range, cancel_range, range_step, range_effects.
-- Rules: none.
create or replace function record_ledger.is_in_range(
    window_start_time timestamptz,
    window_end_time timestamptz,
    from_time timestamptz,
    to_time timestamptz
)
returns boolean
language sql
immutable
as $$
    select window_start_time >= from_time and window_end_time <= to_time
        -- Says nothing new, but ends the walk through the primary key where the range ends.
        and window_start_time < to_time
$$;
comment on function record_ledger.is_in_range(
    timestamptz, timestamptz, timestamptz, timestamptz
) is
'Private. Whether a whole window lies in a range, whose end belongs to it no more.';
-- record_ledger.is_ledger_owner: is a role the owner of the ledger, or a member of it?
-- Superusers are members of every role. Who owns the ledger may do anything in it.
-- Read by: may_act, sees_tokens.
-- Rules: none.
create or replace function record_ledger.is_ledger_owner(role name)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
    select pg_has_role(role, n.nspowner, 'MEMBER')
    from pg_namespace as n
    where n.nspname = 'record_ledger'
$$;
comment on function record_ledger.is_ledger_owner(name) is
'Whether a role owns the ledger or is a member of the role that does.';
-- record_ledger.is_lost: is the source data of a window gone?
-- From the very instant on at which window_end_time + source_retention is reached; never without a source_retention.
-- Read by: lost_before, record_verdict, record_verdicts, records_at_risk, planned_passes, status_after's callers.
-- Rules: none.
create or replace function record_ledger.is_lost(
    window_end_time timestamptz, source_retention interval, as_of timestamptz
)
returns boolean
language sql
-- Not immutable, though elapsed time is: adding to an instant counts as stable, and only then is the call inlined.
stable
as $$
    select window_end_time + source_retention <= as_of is true
$$;
comment on function record_ledger.is_lost(timestamptz, interval, timestamptz) is
'Whether a window''s source data is gone: window_end_time + source_retention is not after as_of.';
-- record_ledger.is_outdated: was a record built before default_record or check_fields last changed, or never?
-- A pass builds it first.
-- Read by: next_answer.
-- Rules: none.
create or replace function record_ledger.is_outdated(
    p record_ledger.pipeline, window_start_time timestamptz
)
returns boolean
language sql
stable
as $$
    select coalesce(r.config_version < (p).fields_version, true)
    from record_ledger.record as r
    where r.pipeline_id = (p).pipeline_id
        and r.window_start_time = is_outdated.window_start_time
$$;
comment on function record_ledger.is_outdated(record_ledger.pipeline, timestamptz) is
'Private. Whether a record was built before default_record or check_fields last changed, or never.';
-- record_ledger.is_run_id: can a run of this name be bound to a record?
-- A text of 1 to 1024 bytes that is not blank; null too, and it binds nothing.
-- Read by: pass_valid_record, complete_and_pass, store_new_and_pass_valid_record, register_store_and_pass.
-- Rules: none.
create or replace function record_ledger.is_run_id(run_id text)
returns boolean
language sql
immutable
as $$
    select (run_id ~ '[^[:space:]]' and octet_length(run_id) <= 1024) is not false
$$;
comment on function record_ledger.is_run_id(text) is
'Whether a text can be a run id: 1 to 1024 bytes and not blank, or null.';
-- record_ledger.is_safe_to_write: may this transaction change the ledger?
-- After waiting for a lock a routine must see what the others did, and stricter levels would show it the past. And the
-- triggers must fire, which keep the state machine and the history: as a replica the session would skip them.
-- Read by: every routine that takes a lock; refuse_call says which of both it was.
-- Rules: none.
create or replace function record_ledger.is_safe_to_write()
returns boolean
language sql
stable
as $$
    select current_setting('transaction_isolation') in ('read committed', 'read uncommitted')
        and current_setting('session_replication_role') <> 'replica'
$$;
comment on function record_ledger.is_safe_to_write() is
'Whether the transaction sees what others committed while it waited for a lock, and fires the ledger''s triggers.';
-- record_ledger.is_same_config: does a config mean what the one in force means?
-- Only keys that are spelt otherwise are read: a duration as elapsed time, a number as a number, a key that is not
-- given as its default. What cannot be read is not the same, and the validation says why. start_at means nothing any
-- more once there are records. So a config in other words costs microseconds in each call, not a validation.
-- Read by: register_store_and_pass, register_pipeline, register_config.
-- Rules: config_keys, duration, start_instant, is_same_counts, recount_ages, last_window.
create or replace function record_ledger.is_same_config(
    p record_ledger.pipeline, config jsonb
)
returns boolean
language plpgsql
stable
as $$
declare
    v_key text;
    v_value jsonb;
    v_text text;
    v_is_same boolean;
begin
    if p.pipeline_id is null or jsonb_typeof(config) <> 'object' then
        return false;
    end if;
    for v_key in
        select k.key
        from unnest(record_ledger.config_keys()) as k (key)
        where nullif(config -> k.key, 'null') is distinct from (p.config -> k.key)
    loop
        v_value := nullif(config -> v_key, 'null');
        v_text := v_value #>> '{}';
        -- A text with units; whatever else JSON holds is no duration.
        v_is_same := case v_key
            when 'pipeline_id' then coalesce(
                v_value = to_jsonb(p.pipeline_id),
                (config #> '{default_record,pipeline_id}') is not null
            )
            when 'default_record' then case jsonb_typeof(v_value)
                when 'object' then v_value - 'pipeline_id' = p.fields and coalesce(
                    (v_value -> 'pipeline_id') = to_jsonb(p.pipeline_id),
                    nullif(config -> 'pipeline_id', 'null') is not null
                )
            end
            when 'x_time_back' then record_ledger.duration(v_text) = p.x_time_back
            when 'granularity' then record_ledger.duration(v_text) = p.granularity
            when 'lease' then record_ledger.duration(coalesce(v_text, '1h')) = p.lease
            when 'retry_delay' then record_ledger.duration(coalesce(v_text, '5m')) = p.retry_delay
            when 'source_retention' then record_ledger.duration(v_text) = p.source_retention
            when 'at_risk_within' then case
                when v_value is null then p.source_retention / 4
                else record_ledger.duration(v_text)
            end = p.at_risk_within
            when 'check_fields' then coalesce(v_value, '[]') = to_jsonb(p.check_fields)
            when 'max_active_records' then v_value = to_jsonb(p.max_active_records)
            when 'max_attempts' then coalesce(v_value, '3') = to_jsonb(p.max_attempts)
            when 'depends_on_past' then coalesce(v_value, 'false') = to_jsonb(p.depends_on_past)
            when 'backfill_share' then coalesce(v_value, '0') = to_jsonb(p.backfill_share)
            when 'pass_order' then coalesce(v_value, '"oldest"') = to_jsonb(p.pass_order)
            when 'reopen_budget' then coalesce(v_value, '10') = to_jsonb(p.reopen_budget)
            when 'required_counts' then record_ledger.is_same_counts(v_value, p.required_counts)
            when 'recount_ages' then record_ledger.recount_ages(v_value) = p.recount_ages
            when 'start_at' then
                (
                    v_value is null
                    or record_ledger.start_instant(v_text, p.timezone) is not null
                )
                and (
                    record_ledger.start_instant(v_text, p.timezone) = p.start_at
                    or exists (select from record_ledger.last_window(p.pipeline_id))
                )
        end;
        if v_is_same is not true then
            return false;
        end if;
    end loop;
    return true;
end
$$;
comment on function record_ledger.is_same_config(record_ledger.pipeline, jsonb) is
'Private. Whether a config means what the one in force means.';
-- record_ledger.is_same_counts: do required_counts mean the ones in force?
-- A list of stages is short for an object; "5 rows" and "5rows" are one tolerance, "0.1%" and "0.10%" as well.
-- Read by: is_same_config.
-- Rules: count_tolerance.
create or replace function record_ledger.is_same_counts(given jsonb, in_force jsonb)
returns boolean
language plpgsql
immutable
as $$
declare
    v_given jsonb := case jsonb_typeof(given)
        when 'array' then jsonb_build_object('stages', given)
        else given
    end;
    v_tolerance text := coalesce(v_given ->> 'tolerance', '0 rows');
begin
    if given is null or in_force is null then
        return given is null and in_force is null;
    end if;
    return jsonb_typeof(v_given) = 'object'
        and v_given - array['stages', 'tolerance'] = '{}'
        and jsonb_typeof(coalesce(v_given -> 'tolerance', '""')) in ('string', 'null')
        and (v_given -> 'stages') = (in_force -> 'stages')
        -- Read for one count they differ where they differ at all: only percentages grow with it.
        and (strpos(v_tolerance, '%') = 0) = (strpos(in_force ->> 'tolerance', '%') = 0)
        and record_ledger.count_tolerance(v_tolerance, 1)
            = record_ledger.count_tolerance(in_force ->> 'tolerance', 1);
end
$$;
comment on function record_ledger.is_same_counts(jsonb, jsonb) is
'Private. Whether required_counts mean the ones in force.';
-- record_ledger.is_stable: has the data of a window settled?
-- From the very instant on at which window_end_time + x_time_back is reached.
-- Read by: next_answer, next_candidate, record_verdict, windows_to_build, planned_passes, plan_runs.
-- Rules: none.
create or replace function record_ledger.is_stable(
    window_end_time timestamptz, x_time_back interval, as_of timestamptz
)
returns boolean
language sql
-- Not immutable, though elapsed time is: adding to an instant counts as stable, and only then is the call inlined.
stable
as $$
    select window_end_time + x_time_back <= as_of
$$;
comment on function record_ledger.is_stable(timestamptz, interval, timestamptz) is
'Whether a window''s data has settled: window_end_time + x_time_back is not after as_of.';
-- record_ledger.is_stage: can a text name a stage at which records are counted?
-- Usual are source, stage and target; a team may have its own.
-- Read by: check_stage, required_counts_problems.
-- Rules: none.
create or replace function record_ledger.is_stage(stage text)
returns boolean
language sql
immutable
as $$
    select coalesce(stage ~ '[^[:space:]]' and octet_length(stage) <= 255, false)
$$;
comment on function record_ledger.is_stage(text) is
'Whether a text can name a stage: 1 to 255 bytes that are not all blank.';
-- record_ledger.is_within_day: does a window that starts at an instant end after its granularity, unhurried by clocks?
-- True where it ends by local midnight, the clocks do not change in it, and were not set back across midnight just
-- before. PostgreSQL takes this expression into the one around it.
-- Read by: next_window, store_new_and_pass_valid_record.
-- Rules: none.
create or replace function record_ledger.is_within_day(
    window_start_time timestamptz,
    -- The same instant on the clocks of the zone.
    wall timestamp,
    granularity interval,
    timezone text
)
returns boolean
language sql
stable
as $$
    select wall + granularity <= wall::date + 1
        and (window_start_time + granularity) at time zone timezone = wall + granularity
        and (window_start_time - interval '12:00:00') at time zone timezone
            = wall - interval '12:00:00'
$$;
comment on function record_ledger.is_within_day(timestamptz, timestamp, interval, text) is
'Private. Whether a window ends after its granularity: neither midnight nor a change of clocks ends it.';
-- record_ledger.iso_time: an instant in ISO 8601 with the offset of the time zone in force.
-- For functions that have set a pipeline's time zone, and errors about a time of the caller; else there is local_time.
-- Read by: record_verdict, no_records_reason, due_reason, check_range, check_backfill.
-- Rules: none. Names are qualified (README.md, Names).
create or replace function record_ledger.iso_time(instant timestamptz)
returns text
language sql
stable
as $$
    select pg_catalog.btrim(pg_catalog.to_json(instant)::text, '"')
$$;
comment on function record_ledger.iso_time(timestamptz) is
'An instant in ISO 8601 with the offset of the session''s time zone.';
-- record_ledger.json_problem: why a JSON value is not one that every reader of the ledger can read; null when it is.
-- Numbers of 300 digits and 400 decimals (a double has fewer), 100 levels and max_bytes at most: a driver refuses what
-- is longer or deeper, and one row that cannot be read would break the overview of all pipelines. max_bytes keeps one
-- call from storing gigabytes.
-- Read by: check_detail, config_problems, built_problem.
-- Rules: none.
create or replace function record_ledger.json_problem(value jsonb, max_bytes integer)
returns text
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_bytes constant integer := octet_length(value::text);
    v_digits integer;
    v_decimals integer;
begin
    -- No text as short as this holds so long a number, or so many brackets: the usual case looks no further.
    if v_bytes <= 200 then
        return null;
    end if;
    if v_bytes > max_bytes then
        return format('is %s bytes of JSON; give %s at most', v_bytes, max_bytes);
    end if;
    if jsonb_path_exists(value, 'strict $.**{101}') then
        return 'is nested more than 100 levels deep';
    end if;
    select
        max(length(substring(n.number::text from '^-?([0-9]+)'))),
        max(length(substring(n.number::text from '[.]([0-9]+)$')))
    into v_digits, v_decimals
    from jsonb_path_query(value, 'strict $.** ? (@.type() == "number")') as n (number);
    if v_digits > 300 then
        return format('holds a number of %s digits; give 300 at most', v_digits);
    end if;
    if v_decimals > 400 then
        return format('holds a number with %s decimals; give 400 at most', v_decimals);
    end if;
    return null;
end
$$;
comment on function record_ledger.json_problem(jsonb, integer) is
'Why a JSON value cannot be stored: too many bytes, levels or digits; null when it can.';
-- record_ledger.json_time: an instant as JSON holds it, ISO 8601 with the offset of a zone.
-- Where the zone is null that of the session, for functions that have set a pipeline's: many times faster.
-- Read by: windows_to_build.
-- Rules: local_time.
create or replace function record_ledger.json_time(instant timestamptz, timezone text)
returns jsonb
language sql
stable
as $$
    select case
        when timezone is null then to_jsonb(instant)
        else to_jsonb(record_ledger.local_time(instant, timezone))
    end
$$;
comment on function record_ledger.json_time(timestamptz, text) is
'Private. An instant as JSON: ISO 8601 with the offset of a zone, or of the session''s where the zone is null.';
-- record_ledger.known_config: a config without what the ledger ignores.
-- Keys that are null count as not given.
-- Read by: configured.
-- Rules: config_keys.
create or replace function record_ledger.known_config(config jsonb)
returns jsonb
language sql
immutable
as $$
    select case jsonb_typeof(config)
        when 'object' then (
            select coalesce(jsonb_object_agg(entry.key, entry.value), '{}')
            from jsonb_each(config) as entry
            where entry.key = any (record_ledger.config_keys())
                and jsonb_typeof(entry.value) <> 'null'
        )
        -- read_config says what is wrong with it.
        else config
    end
$$;
comment on function record_ledger.known_config(jsonb) is
'A config without the keys that the ledger ignores, and without those that are null.';
-- record_ledger.lane: where an open record waits; null for a finished one.
--   active     in progress
--   failed     failed
--   historical pending, backfilled or reopened
--   incomplete pending, built and check_fields are empty: with the config_version it has, and h if historical
--   retry      pending, and kept from the next run by a retry_at: in backoff, or given back until then; retryh if
--              historical. It stays there when the instant is over, so in every other lane the first one can be passed
--   returned   pending again, after a pass, or after it was incomplete
--   waiting    pending, never passed, stored in order: passed strictly oldest first
-- No lane is judged anew when the config changes: outdated records count by what default_record fills.
-- Read by: check_record_change, store_windows, backfill_range.
-- Rules: every open record is in exactly one lane, so one index of lanes finds whatever a pass asks for.
create or replace function record_ledger.lane(
    status text,
    missing_fields text[],
    config_version integer,
    -- It has been in no other lane than 'waiting'.
    is_in_order boolean,
    is_historical boolean,
    retry_at timestamptz
)
returns text
language sql
immutable
as $$
    select case
        when status = 'PENDING' and missing_fields is not null and config_version is not null
            then 'incomplete' || lpad(config_version::text, 10, '0')
                || case when is_historical then 'h' else '' end
        when status = 'PENDING' and retry_at is not null
            then case when is_historical then 'retryh' else 'retry' end
        when status = 'PENDING' and is_historical then 'historical'
        when status = 'PENDING' and is_in_order then 'waiting'
        when status = 'PENDING' then 'returned'
        when status = 'IN_PROGRESS' then 'active'
        when status = 'FAILED' then 'failed'
    end
$$;
comment on function record_ledger.lane(
    text, text[], integer, boolean, boolean, timestamptz
) is
'Private. The lane of an open record: active, failed, historical, incomplete with a version, retry, returned or waiting; null when finished.';
-- record_ledger.lane_heads: the oldest record in each lane of a pipeline; no row for an empty lane.
-- What starts before lost_before is passed over, but for the records in progress.
-- Read by: next_answer, oldest_pending_record, archivable_records.
-- Rules: stuck_heads; lane says which lanes there are.
create or replace function record_ledger.lane_heads(
    pipeline_id text, lost_before timestamptz default null
)
returns table (lane text, window_start_time timestamptz)
language sql
stable
as $$
    select l.lane, head.window_start_time
    from (
        values
            ('waiting', lane_heads.lost_before),
            ('returned', lane_heads.lost_before),
            ('historical', lane_heads.lost_before),
            ('retry', lane_heads.lost_before),
            ('retryh', lane_heads.lost_before),
            ('active', null)
    ) as l (lane, from_time)
    cross join lateral (
        select r.window_start_time
        from record_ledger.record as r
        where r.open_pipeline_id = lane_heads.pipeline_id
            and r.lane = l.lane
            and r.window_start_time >= coalesce(l.from_time, '-infinity')
        order by r.window_start_time
        limit 1
    ) as head
    union all
    select s.lane, s.window_start_time
    from record_ledger.stuck_heads(lane_heads.pipeline_id, lane_heads.lost_before) as s
$$;
comment on function record_ledger.lane_heads(text, timestamptz) is
'Private. The oldest record in each lane of a pipeline.';
-- record_ledger.last_window: the newest stored window of a pipeline; no row when none is stored.
-- The next one starts at its end: no gap, no overlap. A set, so that statements which read it are planned as one.
-- Read by: next_window_start, store_windows, store_new_and_pass_valid_record, register_store_and_pass,
-- archivable_records, is_same_config, configured, start_problem.
-- Rules: none.
create or replace function record_ledger.last_window(pipeline_id text)
returns table (window_start_time timestamptz, window_end_time timestamptz)
language sql
stable
as $$
    select r.window_start_time, r.window_end_time
    from record_ledger.record as r
    where r.pipeline_id = last_window.pipeline_id
    order by r.window_start_time desc
    limit 1
$$;
comment on function record_ledger.last_window(text) is
'Private. The newest stored window of a pipeline; no row when none is stored.';
-- record_ledger.lateness: how late the rows of a pipeline's windows came, as recounts have measured it.
-- One row per age: 0, the count that a window was loaded with, and each of recount_ages. Drawn from the newest windows
-- whose first generation was counted as soon as it had settled (before the first age) and again at the last age: the
-- rows of the newest count are all there are. At each age the first count from then on, before the next age, tells.
-- Read by: pipeline_lateness, suggest_x_time_back. Rules: loaded_count; 20 windows are enough.
create or replace function record_ledger.lateness(p record_ledger.pipeline)
returns table (
    recount_age interval,
    window_count bigint,
    late_window_count bigint,
    row_count numeric,
    min_lateness interval,
    max_lateness interval,
    missed_share numeric,
    worst_missed_share numeric,
    is_last boolean
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
    with newest as (
        select distinct n.window_start_time
        from (
            select o.window_start_time
            from record_ledger.record_observation as o
            where o.pipeline_id = (p).pipeline_id
                and o.changed_by is not null
                and o.generation = 1
            order by o.window_start_time desc
            limit 5000
        ) as n
    ),

    counted as (
        select
            r.window_start_time,
            r.window_end_time,
            l.observed_at as loaded_at,
            case
                when o.observation_no = l.observation_no then l.observed_at
                else o.observed_at
            end as observed_at,
            o.row_count,
            last_value(o.row_count) over every_count as all_rows,
            max(o.observed_at) over (partition by r.window_start_time) as last_observed_at
        from newest as w
        -- Each looked up by itself, whatever the planner knows of the tables: that is what the offsets are for.
        cross join lateral (
            select q.window_start_time, q.window_end_time
            from record_ledger.record as q
            where q.pipeline_id = (p).pipeline_id and q.window_start_time = w.window_start_time
            offset 0
        ) as r
        cross join lateral record_ledger.loaded_count(
            (p).pipeline_id, r.window_start_time, 1
        ) as l
        cross join lateral (
            select q.observation_no, q.observed_at, q.row_count
            from record_ledger.record_observation as q
            where q.pipeline_id = (p).pipeline_id
                and q.window_start_time = r.window_start_time
                and q.generation = 1
                and q.stage = 'source'
                and (q.changed_by is not null or q.observation_no = l.observation_no)
            offset 0
        ) as o
        where l.observed_at >= r.window_end_time + (p).x_time_back
            and l.observed_at < r.window_end_time + ((p).x_time_back + (p).recount_ages[1])
        window every_count as (
            partition by r.window_start_time
            order by o.observation_no
            rows between unbounded preceding and unbounded following
        )
    ),

    ages as (
        select
            a.age,
            lead(a.age) over (order by a.age) as next_age
        from unnest(interval '0' || (p).recount_ages) as a (age)
    ),

    at_ages as (
        select distinct on (a.age, c.window_start_time)
            a.age,
            extract(epoch from c.observed_at - c.window_end_time) as lateness,
            c.all_rows,
            greatest(c.all_rows - c.row_count, 0) as missed_rows
        from counted as c
        join ages as a
            on c.observed_at >= c.loaded_at + a.age
                and (a.next_age is null or c.observed_at < c.loaded_at + a.next_age)
        where c.last_observed_at >= c.loaded_at + (p).recount_ages[cardinality((p).recount_ages)]
        order by a.age, c.window_start_time, c.observed_at
    )

    select
        a.age,
        count(c.age),
        count(c.age) filter (where c.missed_rows > 0),
        coalesce(sum(c.all_rows), 0),
        min(c.lateness) * interval '1 second',
        max(c.lateness) * interval '1 second',
        case
            when count(c.age) >= record_ledger.enough_windows()
                then coalesce(sum(c.missed_rows) / nullif(sum(c.all_rows), 0), 0)
        end,
        case
            when count(c.age) >= record_ledger.enough_windows()
                then coalesce(max(c.missed_rows / nullif(c.all_rows, 0)::numeric), 0)
        end,
        a.next_age is null
    from ages as a
    left join at_ages as c on c.age = a.age
    group by a.age, a.next_age
    order by a.age
$$;
comment on function record_ledger.lateness(record_ledger.pipeline) is
'How late the rows of a pipeline''s windows came, one row per recount age; shares are null when drawn from less than 20 windows.';
-- record_ledger.ledger_columns: the names in a record that belong to the ledger.
-- A config's default_record may use none of them but pipeline_id.
-- Read by: config_problems, missing_fields.
-- Rules: none.
create or replace function record_ledger.ledger_columns()
returns text[]
language sql
immutable
as $$
    select array[
        'pipeline_id',
        'target_day',
        'window_start_time',
        'window_end_time',
        'time_interval',
        'status',
        'generation',
        'attempt',
        'claim_token',
        'run_id',
        'lease_expires_at',
        'retry_at',
        'fields',
        'missing_fields',
        'config_version',
        'last_event',
        'last_detail',
        'published_generation',
        'counts_waived',
        'window_timezone',
        'is_outdated',
        'created_at',
        'updated_at'
    ]
$$;
comment on function record_ledger.ledger_columns() is
'The names in a record that belong to the ledger and that default_record may not use (but pipeline_id).';
-- record_ledger.loaded_count: the count of its source that a completed generation of a record stands on.
-- The newest one under the claim that completed it; else, without a claim, the newest one until its completion. No row
-- when the source was not counted by then.
-- Read by: observe_record, recount_due, lateness.
-- Rules: none; what is noted before a completion never changes after it.
create or replace function record_ledger.loaded_count(
    pipeline_id text, window_start_time timestamptz, generation integer
)
returns table (observation_no integer, observed_at timestamptz, row_count bigint)
language sql
stable
as $$
    select o.observation_no, coalesce(a.observed_at, o.observed_at), o.row_count
    from record_ledger.record_event as e
    -- The counts of one record, whatever the planner knows of the tables: that is what the offset is for.
    cross join lateral (
        select q.*
        from record_ledger.record_observation as q
        where q.pipeline_id = loaded_count.pipeline_id
            and q.window_start_time = loaded_count.window_start_time
        offset 0
    ) as o
    -- Counted when it was counted, whoever adopted it since.
    left join record_ledger.record_observation as a
        on a.pipeline_id = loaded_count.pipeline_id
            and a.window_start_time = loaded_count.window_start_time
            and a.observation_no = o.adopted_no
    where e.pipeline_id = loaded_count.pipeline_id
        and e.window_start_time = loaded_count.window_start_time
        and e.generation = loaded_count.generation
        and e.event = 'completed'
        and o.generation = e.generation
        and o.stage = 'source'
        and o.changed_by is null
        and (
            o.claim_token = e.claim_token
            or o.claim_token is null and o.observed_at <= e.event_time
        )
    order by (o.claim_token is not null) desc, o.observation_no desc
    limit 1
$$;
comment on function record_ledger.loaded_count(text, timestamptz, integer) is
'Private. The count of its source that a completed generation of a record stands on; no row when there is none.';
-- record_ledger.local_day: the local day an instant belongs to.
-- The last day that has started. Not always the date on the wall: clocks set back across midnight show yesterday again.
-- Read by: windows_from, backfill_windows, first_window_start.
-- Rules: day_start.
create or replace function record_ledger.local_day(instant timestamptz, timezone text)
returns date
language plpgsql
immutable strict
as $$
declare
    v_day date := (instant at time zone local_day.timezone)::date;
begin
    while record_ledger.day_start(v_day + 1, local_day.timezone) <= instant loop
        v_day := v_day + 1;
    end loop;
    return v_day;
end
$$;
comment on function record_ledger.local_day(timestamptz, text) is
'The local day an instant belongs to: the last one whose day_start is not after it.';
-- record_ledger.local_instant: the first instant at which a zone's clocks show a local time or a later one.
-- Where the local time happens twice, the first of both; where it is skipped, the end of the gap.
-- Read by: day_start, start_instant, the runner for local times that people give.
-- Rules: none. Types are exact (README.md, Names).
create or replace function record_ledger.local_instant(local_time timestamp, timezone text)
returns timestamptz
language plpgsql
immutable strict
as $$
declare
    v_instant timestamptz := local_time at time zone local_instant.timezone;
    v_before timestamptz := v_instant - interval '12 hours';
    -- The same local time reckoned with the offset that was in force half a day earlier.
    v_first timestamptz := (
        local_time - (
            (v_before at time zone local_instant.timezone) - (v_before at time zone 'UTC')
        )
    ) at time zone 'UTC';
    v_not_yet timestamptz;
    v_middle timestamptz;
begin
    -- PostgreSQL reads a local time that happens twice as the second of both.
    if v_first at time zone local_instant.timezone = local_time then
        return v_first;
    end if;
    if v_instant at time zone local_instant.timezone = local_time then
        return v_instant;
    end if;
    -- The local time is skipped, and v_first is at or after the end of the gap; mostly the gap starts right there.
    if (v_first - interval '1 microsecond') at time zone local_instant.timezone < local_time then
        return v_first;
    end if;
    v_not_yet := v_first - interval '26 hours';
    while v_first - v_not_yet > interval '1 microsecond' loop
        v_middle := v_not_yet + (v_first - v_not_yet) / 2::double precision;
        if v_middle at time zone local_instant.timezone >= local_time then
            v_first := v_middle;
        else
            v_not_yet := v_middle;
        end if;
    end loop;
    return v_first;
end
$$;
comment on function record_ledger.local_instant(timestamp, text) is
'The first instant at which the zone''s clocks show the local time or a later one.';
-- record_ledger.local_instants: the instants at which a zone's clocks show exactly a local time.
-- One as a rule, none where clocks skip it, two where they show it twice; the earlier one first.
-- Read by: twofold_time, window_time.
-- Rules: local_instant.
create or replace function record_ledger.local_instants(local_time timestamp, timezone text)
returns timestamptz[]
language plpgsql
immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    v_first constant timestamptz := record_ledger.local_instant(
        local_time, local_instants.timezone
    );
    -- PostgreSQL reads a local time that happens twice as the second of both.
    v_second constant timestamptz := local_time at time zone local_instants.timezone;
begin
    if v_first at time zone local_instants.timezone <> local_time then
        return '{}';
    elsif v_second > v_first then
        return array[v_first, v_second];
    end if;
    return array[v_first];
end
$$;
comment on function record_ledger.local_instants(timestamp, text) is
'The instants at which the zone''s clocks show a local time: none, one or two.';
-- record_ledger.local_time: an instant as people of a zone write it, ISO 8601 with the offset in force.
-- As the server reckons it: '2026-03-08T03:00:00-07:00'; fractions of a second only where there are any.
-- Read by: every sentence that names an instant.
-- Rules: none. Types are exact (README.md, Names).
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
-- record_ledger.lost_before: up to where records are lost; null when none of them waits to be waived.
-- All windows that start before it are past their deadline: they end in the order in which they start, so the lost ones
-- are the first of every lane. A record in progress waits once its lease has run out, before that it is its holder's.
-- Read by: next_answer. Rules: is_lost, stuck_heads, expired_claims.
create or replace function record_ledger.lost_before(
    p record_ledger.pipeline,
    -- The oldest record that is pending and complete; null when there is none.
    oldest_pending timestamptz,
    -- Before it no lease ends; null when that is not known.
    lease_mark timestamptz,
    has_expired boolean,
    as_of timestamptz
)
returns timestamptz
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    v_oldest timestamptz := oldest_pending;
    v_last record;
    v_lost_before timestamptz;
begin
    select least(v_oldest, min(h.window_start_time)) into v_oldest
    from record_ledger.stuck_heads(p.pipeline_id) as h;
    -- Of those in progress only the expired ones count.
    if has_expired then
        select least(v_oldest, min(e.window_start_time)) into v_oldest
        from record_ledger.expired_claims(p.pipeline_id, lost_before.lease_mark, as_of) as e;
    end if;
    -- A window that starts later than this ends later, too.
    if v_oldest is null or v_oldest >= as_of - p.source_retention then
        return null;
    end if;
    select r.window_start_time, r.window_end_time into v_last
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id and r.window_start_time < as_of - p.source_retention
    order by r.window_start_time desc
    limit 1;
    v_lost_before := case
        when record_ledger.is_lost(v_last.window_end_time, p.source_retention, as_of)
            then v_last.window_end_time
        else v_last.window_start_time
    end;
    return case when v_oldest < v_lost_before then v_lost_before end;
end
$$;
comment on function record_ledger.lost_before(
    record_ledger.pipeline, timestamptz, timestamptz, boolean, timestamptz
) is
'Private. Up to where the records of a pipeline are lost; null when none of them waits to be waived.';
-- record_ledger.may_act: may the session's user act in a pipeline that belongs to a role?
-- Members of that role and owners of the ledger may; where the role is gone, only the latter.
-- Read by: check_owner, set_pipeline_owner. Asked only for pipelines that have an owner.
-- Rules: is_ledger_owner. By session_user: routines run with the rights of the ledger's owner.
create or replace function record_ledger.may_act(owner_role text)
returns boolean
language sql
stable
as $$
    select case
        when to_regrole(quote_ident(owner_role)) is null then false
        else pg_has_role(session_user, to_regrole(quote_ident(owner_role)), 'MEMBER')
    end
    or record_ledger.is_ledger_owner(session_user)
$$;
comment on function record_ledger.may_act(text) is
'Private. Whether the session''s user is a member of the role that a pipeline belongs to, or owns the ledger.';
-- record_ledger.missing_fields: the check_fields that are empty in a record's fields.
-- Empty is missing, null or "". Null, not an empty array, when nothing is missing: the record is complete.
-- Read by: is_complete, configured, store_windows, build_record.
-- Rules: the ledger's own columns are never empty. Names are qualified (README.md, Names).
create or replace function record_ledger.missing_fields(fields jsonb, check_fields text[])
returns text[]
language plpgsql
immutable
as $$
declare
    v_field text;
    v_missing text[];
begin
    foreach v_field in array check_fields loop
        if coalesce(fields ->> v_field, '') = ''
            and v_field <> all (record_ledger.ledger_columns())
        then
            v_missing := pg_catalog.array_append(v_missing, v_field);
        end if;
    end loop;
    return v_missing;
end
$$;
comment on function record_ledger.missing_fields(jsonb, text[]) is
'The check_fields that are missing, null or "" in the fields; null when none is.';
-- record_ledger.near_names: the candidates that a misspelt name may have meant, nearest first, three at most.
-- Near is a name that differs by few letters, or only in case, spaces, hyphens and underscores, or in its last part.
-- Read by: config_problems (time zones, check_fields), warn_of_misspelt_keys, raise_unknown_pipeline.
-- Rules: edit_distance.
create or replace function record_ledger.near_names(name text, candidates text[])
returns text[]
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    select array(
        select c.candidate
        from (
            select
                candidate,
                translate(lower(candidate), ' -_', '') as plain,
                translate(lower(near_names.name), ' -_', '') as plain_name
            from unnest(candidates[1:1000]) as candidate
            -- A name as long as that is none that was misspelt.
            where octet_length(near_names.name) <= 255
        ) as c
        cross join lateral (
            select
                case
                    when c.plain = c.plain_name then 0
                    when split_part(c.plain, '/', -1) = split_part(c.plain_name, '/', -1) then 1
                    -- The reckoning is slow: spare it names of another length, or with both ends different.
                    when abs(length(c.plain) - length(c.plain_name)) <= 3
                        and length(c.plain_name) <= 64
                        and (
                            left(c.plain, 1) = left(c.plain_name, 1)
                            or right(c.plain, 1) = right(c.plain_name, 1)
                        )
                        then record_ledger.edit_distance(c.plain, c.plain_name)
                end as distance
        ) as d
        where d.distance <= least(3, greatest(1, length(c.plain_name) / 3))
        order by d.distance, c.candidate
        limit 3
    )
$$;
comment on function record_ledger.near_names(text, text[]) is
'Up to three candidates that a misspelt name may have meant, nearest first.';
-- record_ledger.next_answer: what a pass would answer to a run at an instant, without passing anything.
-- READY with the record's window, or why there is none; the routines that pass and the views ask here, so they agree.
-- Where the first look finds none outside the lanes 'waiting' and 'active', the first waiting record comes next.
-- Read by: pass_record, pass_valid_record, register_store_and_pass, batch_to_build, pipeline_answer.
-- Rules: first_look, first_open, first_waiting, is_outdated, is_stable, lost_before, earliest_open, next_candidate,
-- deciding_record, record_verdict.
create or replace function record_ledger.next_answer(
    p record_ledger.pipeline,
    run_id text,
    as_of timestamptz,
    -- Leases that have run out were collected just now: what is left of them is the next pass's.
    is_collected boolean default false,
    out verdict text,
    -- Null when READY.
    out reason text,
    out ready_at timestamptz,
    out window_start_time timestamptz,
    -- The record that the run is bound to.
    out bound_window timestamptz,
    -- Leases that have run out wait to be collected.
    out has_expired boolean,
    -- Records before this instant are lost, and some wait to be waived; null when none does.
    out lost_before timestamptz,
    -- The oldest record in progress.
    out first_active timestamptz,
    -- Of the pipeline's newest claim: the next one's is greater.
    out newest_token bigint,
    -- What the claim notes when this answer is passed, as first_look says; a lease_mark where some are in progress.
    out waiting_mark timestamptz,
    out historical_mark timestamptz,
    out returned_mark timestamptz,
    out retry_mark timestamptz,
    out lease_mark timestamptz,
    out others_seen_at timestamptz,
    -- And what historical records are owed, in passes.
    out historical_credit numeric,
    -- READY, and no record before this one waits in order.
    out is_first boolean,
    -- READY, and no other record is in progress, and none pending but those that wait in order after this one.
    out is_alone boolean,
    -- READY, and the record is to be built first: with an older config, or never, it was not what is in force now.
    out is_outdated boolean
)
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    r record_ledger.record;
    v_verdict record;
    v_active_count bigint := 0;
    v_earliest_open timestamptz;
    v_start timestamptz;
    v_end timestamptz;
    -- The first records of the lanes 'active', 'historical', 'retry', 'retryh' and 'returned'; the bounds of 'waiting'.
    v_heads timestamptz[];
    v_waiting timestamptz[];
    -- All other lanes that hold what can be passed are empty.
    v_is_usual boolean;
    v_active_mark timestamptz;
    v_is_looked_up boolean;
    v_first_lane text;
begin
    select
        l.newest_token,
        l.historical_credit,
        l.waiting_mark,
        l.active_mark,
        l.historical_mark,
        l.returned_mark,
        l.retry_mark,
        l.lease_mark,
        l.others_seen_at,
        l.bound_window,
        l.line
    into
        next_answer.newest_token,
        next_answer.historical_credit,
        next_answer.waiting_mark,
        v_active_mark,
        next_answer.historical_mark,
        next_answer.returned_mark,
        next_answer.retry_mark,
        next_answer.lease_mark,
        next_answer.others_seen_at,
        next_answer.bound_window,
        v_waiting
    from record_ledger.first_look(
        p.pipeline_id, p.marks_void_at, p.granularity, next_answer.run_id
    ) as l
    order by l.newest_token desc
    limit 1;
    -- Failed ones may be open before it.
    v_is_looked_up := v_waiting[1] < v_waiting[2] and not p.depends_on_past;
    if v_is_looked_up is not true then
        -- Old snapshots may keep the entries of lanes that held records within a day. It is a day of the server's, as
        -- snapshots know no other time.
        v_is_looked_up := newest_token is not null
            and others_seen_at > now() - interval '24:00:00' is not true;
        select o.waiting, o.first_lane
        into v_waiting, v_first_lane
        from record_ledger.first_open(
            p.pipeline_id,
            next_answer.waiting_mark,
            case when v_is_looked_up then v_active_mark end,
            p.granularity
        ) as o;
    end if;
    if v_waiting is null then
        v_waiting := record_ledger.first_waiting(p.pipeline_id, next_answer.waiting_mark);
    end if;
    is_outdated := false;
    is_first := false;
    is_alone := false;
    has_expired := false;
    if v_first_lane is null and v_is_looked_up and bound_window is null
        and coalesce(p.paused_at, p.filled_from) is null and p.missing_fields is null
        and p.source_retention is null
        and record_ledger.is_stable(v_waiting[2], p.x_time_back, as_of)
    then
        -- Nothing is open but what waits in order.
        verdict := 'READY';
        is_first := true;
        is_alone := true;
        window_start_time := v_waiting[1];
        waiting_mark := window_start_time;
        historical_mark := as_of;
        returned_mark := as_of;
        retry_mark := as_of;
        if p.fields_version > 1 or p.has_templates then
            is_outdated := record_ledger.is_outdated(p, window_start_time);
        end if;
        return;
    end if;
    if not v_is_looked_up or v_first_lane is not null then
        v_heads := array(
            select (
                    select o.window_start_time
                    from record_ledger.record as o
                    where o.open_pipeline_id = p.pipeline_id and o.lane = l.lane
                        and o.window_start_time >= coalesce(l.mark, '-infinity')
                    order by o.window_start_time
                    limit 1
                )
            from (
                values
                    ('active', v_active_mark),
                    ('historical', next_answer.historical_mark),
                    ('retry', next_answer.retry_mark),
                    ('retryh', next_answer.retry_mark),
                    ('returned', next_answer.returned_mark)
            ) as l (lane, mark)
        );
    end if;
    first_active := v_heads[1];
    if coalesce(v_heads[2], v_heads[3], v_heads[4], v_heads[5]) is not null
        or v_first_lane <> 'active'
    then
        others_seen_at := now();
    end if;
    if first_active is not null and as_of < lease_mark is not true then
        lease_mark := (
            select e.lease_expires_at
            from record_ledger.record as e
            where e.open_pipeline_id = p.pipeline_id and e.lane = 'active'
                and e.lease_expires_at >= coalesce(next_answer.lease_mark, '-infinity')
            order by e.lease_expires_at
            limit 1
        );
        has_expired := lease_mark <= as_of and not is_collected;
    end if;
    if first_active is not null and p.max_active_records is not null then
        -- Beyond a limit that was lowered, a thousand are enough to tell.
        select count(*) into v_active_count
        from (
            select
            from record_ledger.record as a
            where a.open_pipeline_id = p.pipeline_id and a.lane = 'active'
                and a.lease_expires_at > as_of
            limit p.max_active_records + 1000
        ) as a;
    end if;
    if p.source_retention is not null then
        lost_before := record_ledger.lost_before(
            p,
            least(v_heads[2], v_heads[3], v_heads[4], v_heads[5], v_waiting[1]),
            case when has_expired then lease_mark end,
            has_expired,
            as_of
        );
    end if;
    if lost_before is null then
        -- A mark says that nothing is before it, and lost ones are that still wait to be waived.
        -- An empty lane begins after all windows so far.
        historical_mark := coalesce(v_heads[2], as_of);
        retry_mark := coalesce(least(v_heads[3], v_heads[4]), as_of);
        returned_mark := coalesce(v_heads[5], as_of);
    else
        -- The first ones that are not lost.
        v_heads := first_active || array(
            select (
                    select min(h.window_start_time)
                    from record_ledger.lane_heads(
                        p.pipeline_id, lost_before => next_answer.lost_before
                    ) as h
                    where h.lane = l.lane
                )
            from unnest(array['historical', 'retry', 'retryh', 'returned']) as l (lane)
        );
        v_waiting := record_ledger.first_waiting(
            p.pipeline_id, greatest(waiting_mark, lost_before)
        );
    end if;
    v_is_usual := not has_expired and p.filled_from is null
        and coalesce(v_heads[2], v_heads[3], v_heads[4], v_heads[5]) is null;
    if p.depends_on_past then
        v_earliest_open := record_ledger.earliest_open(
            p,
            least(v_heads[2], v_heads[3], v_heads[4], v_heads[5], v_waiting[1]),
            first_active,
            lost_before,
            as_of
        );
    end if;

    -- A run that had a record gets that one or none: a retried task never takes a second window.
    if bound_window is not null then
        window_start_time := bound_window;
        select b.* into r
        from record_ledger.record as b
        where b.pipeline_id = p.pipeline_id and b.window_start_time = next_answer.bound_window;
        -- A record that is gone from here was archived, and only finished ones are.
        if coalesce(r.status, 'archived') in ('COMPLETED', 'WAIVED', 'archived') then
            verdict := 'ALREADY_DONE';
            reason := format(
                'run %s was passed window %s, which is %s', next_answer.run_id,
                record_ledger.local_time(
                    next_answer.bound_window,
                    record_ledger.window_timezone(p, next_answer.bound_window)
                ),
                coalesce(r.status, 'archived')
            );
            return;
        end if;
        if r.status = 'IN_PROGRESS'
            and r.run_id = next_answer.run_id
            and r.lease_expires_at > as_of
            -- No run is passed a cancelled record before it is reopened.
            and r.cancellation is null
        then
            verdict := 'READY';
            return;
        end if;
        -- Its own backoff does not keep the run that failed from trying again. A time that it named does.
        if r.postponement is null then
            r.retry_at := null;
        end if;
    else
        -- Where default_record leaves check_fields empty, only what a caller has filled may come next.
        if p.missing_fields is null then
            v_start := v_waiting[1];
            v_end := v_waiting[2];
        end if;
        -- The next one in order, unless some wait elsewhere.
        if not v_is_usual
            or p.fields_version > 1 and exists (
                select
                from record_ledger.incomplete_lanes(p.pipeline_id, p.fields_version)
            )
        then
            select n.window_start_time, n.window_end_time, n.historical_credit
            into v_start, v_end, next_answer.historical_credit
            from record_ledger.next_candidate(
                p,
                v_start,
                v_end,
                v_heads[2:],
                case when has_expired then coalesce(next_answer.lease_mark, '-infinity') end,
                coalesce(next_answer.historical_credit, 0),
                next_answer.lost_before,
                as_of
            ) as n;
        end if;
        -- When the one that comes next has not settled, no later one has.
        if record_ledger.is_stable(v_end, p.x_time_back, as_of)
            and p.paused_at is null
            and v_active_count < coalesce(p.max_active_records, 2147483647)
            and (not p.depends_on_past or v_earliest_open >= v_start)
        then
            verdict := 'READY';
            window_start_time := v_start;
            if v_start = v_waiting[1] and lost_before is null then
                waiting_mark := v_start;
                is_first := true;
                is_alone := v_is_usual and first_active is null
                    and not exists (
                        select from record_ledger.incomplete_lanes(p.pipeline_id)
                    );
            end if;
            -- Nothing is outdated where nothing has changed and nothing has to be rendered.
            if p.fields_version > 1 or p.has_templates then
                is_outdated := record_ledger.is_outdated(p, v_start);
            end if;
            return;
        end if;

        -- Nothing to pass: the oldest pending record says why, else the oldest in progress, else the oldest failed one.
        r := record_ledger.deciding_record(
            p,
            least(v_heads[2], v_heads[3], v_heads[4], v_heads[5], v_waiting[1]),
            first_active,
            case when has_expired then coalesce(lease_mark, '-infinity') end,
            lost_before,
            as_of
        );
        if r.pipeline_id is null then
            verdict := 'NO_RECORDS';
            reason := record_ledger.no_records_reason(
                p, record_ledger.next_window_start(p, as_of), as_of
            );
            return;
        end if;
    end if;
    v_verdict := record_ledger.record_verdict(r, p, v_earliest_open, v_active_count, as_of);
    verdict := v_verdict.verdict;
    reason := v_verdict.reason;
    ready_at := v_verdict.ready_at;
    is_outdated := verdict = 'READY' and coalesce(r.config_version < p.fields_version, true);
end
$$;
comment on function record_ledger.next_answer(
    record_ledger.pipeline, text, timestamptz, boolean
) is
'What a pass would answer to a run at an instant: READY and the window, or the verdict and the reason why there is none.';
-- record_ledger.next_candidate: which of a pipeline's pending records comes next, when not all wait in order.
-- Oldest first; with a backfill_share, backfilled and reopened records take turns with live ones while both are stable:
-- a credit grows by the share per such pass, and at 1 it is spent on a historical record. So of n passes they get
-- floor(n * share) at least, and live windows floor(n * (1 - share)). With pass_order 'deadline', the older of both
-- goes first while it is at risk, whosever turn it is; such a pass is nobody's turn.
-- Outdated records are complete where default_record fills all check_fields, and only current ones may be elsewhere.
-- Read by: next_answer. Rules: oldest_due, incomplete_lanes, expired_claims, is_stable, is_at_risk, retry_time.
create or replace function record_ledger.next_candidate(
    p record_ledger.pipeline,
    -- The first record of the lane 'waiting', if default_record completes it.
    live_start timestamptz,
    live_end timestamptz,
    -- The first ones of the lanes 'historical', 'retry', 'retryh' and 'returned'.
    heads timestamptz[],
    -- Before it no lease ends; null when none has run out.
    lease_mark timestamptz,
    credit numeric,
    -- What starts before it is passed over; null when nothing is lost.
    lost_before timestamptz,
    as_of timestamptz,
    out window_start_time timestamptz,
    out window_end_time timestamptz,
    out historical_credit numeric
)
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    v_live timestamptz := live_start;
    v_live_end timestamptz := live_end;
    v_past timestamptz;
    v_past_end timestamptz;
    v_other record;
    v_live_is_stable boolean;
    v_past_is_stable boolean;
    -- Where default_record leaves check_fields empty, only what a caller has filled with its own fields is complete.
    v_built_since constant integer := case
        when p.missing_fields is not null then p.fields_version
    end;
    v_from constant timestamptz := coalesce(
        greatest(
            lost_before,
            case when p.missing_fields is not null then coalesce(p.filled_from, 'infinity') end
        ),
        '-infinity'
    );
begin
    historical_credit := credit;
    if v_built_since is null then
        v_past := heads[1];
        v_live := least(v_live, heads[4]);
    else
        v_past := record_ledger.oldest_due(
            p.pipeline_id, 'historical', v_from, as_of, v_built_since
        );
        v_live := least(
            record_ledger.oldest_due(p.pipeline_id, 'returned', v_from, as_of, v_built_since),
            record_ledger.oldest_due(p.pipeline_id, 'waiting', v_from, as_of, v_built_since)
        );
    end if;
    if heads[2] is not null then
        v_live := least(
            v_live,
            record_ledger.oldest_due(
                p.pipeline_id, 'retry', greatest(v_from, heads[2]), as_of, v_built_since
            )
        );
    end if;
    if heads[3] is not null then
        v_past := least(
            v_past,
            record_ledger.oldest_due(
                p.pipeline_id, 'retryh', greatest(v_from, heads[3]), as_of, v_built_since
            )
        );
    end if;
    if v_built_since is null and p.fields_version > 1 then
        -- Incomplete by an older config, and the one in force fills what was missing.
        select
            min(d.window_start_time) filter (where l.lane not like '%h') as live,
            min(d.window_start_time) filter (where l.lane like '%h') as past
        into v_other
        from record_ledger.incomplete_lanes(p.pipeline_id, p.fields_version) as l (lane)
        cross join lateral record_ledger.oldest_due(
            p.pipeline_id, l.lane, v_from, as_of
        ) as d (window_start_time);
        v_live := least(v_live, v_other.live);
        v_past := least(v_past, v_other.past);
    end if;
    if lease_mark is not null then
        -- What the next pass takes back and could pass at once.
        select
            min(e.window_start_time) filter (where not e.is_historical) as live,
            min(e.window_start_time) filter (where e.is_historical) as past
        into v_other
        from record_ledger.expired_claims(p.pipeline_id, next_candidate.lease_mark, as_of) as e
        where e.attempt < p.max_attempts and e.cancellation is null
            and e.window_start_time >= coalesce(next_candidate.lost_before, '-infinity')
            and case
                when e.config_version >= p.fields_version then e.missing_fields
                else p.missing_fields
            end is null
            and record_ledger.retry_time(e.lease_expires_at, e.attempt, e.window_end_time, p)
                <= as_of;
        v_live := least(v_live, v_other.live);
        v_past := least(v_past, v_other.past);
    end if;
    if v_live is distinct from live_start then
        v_live_end := (
            select r.window_end_time
            from record_ledger.record as r
            where r.pipeline_id = p.pipeline_id and r.window_start_time = v_live
        );
    end if;
    if v_past is not null then
        v_past_end := (
            select r.window_end_time
            from record_ledger.record as r
            where r.pipeline_id = p.pipeline_id and r.window_start_time = v_past
        );
    end if;

    if p.backfill_share > 0 and v_past is not null and v_live is not null then
        v_live_is_stable := record_ledger.is_stable(v_live_end, p.x_time_back, as_of);
        v_past_is_stable := record_ledger.is_stable(v_past_end, p.x_time_back, as_of);
        if v_live_is_stable and v_past_is_stable
            and p.pass_order = 'deadline'
            and record_ledger.is_at_risk(least(v_past_end, v_live_end), p, as_of)
        then
            -- Below, the older one.
            null;
        elsif v_live_is_stable and v_past_is_stable then
            historical_credit := credit + p.backfill_share;
            if historical_credit >= 1 then
                historical_credit := historical_credit - 1;
                v_live := null;
            else
                v_past := null;
            end if;
        elsif v_past_is_stable then
            v_live := null;
        elsif v_live_is_stable then
            v_past := null;
        end if;
    end if;
    if v_past < v_live or v_live is null then
        window_start_time := v_past;
        window_end_time := v_past_end;
    else
        window_start_time := v_live;
        window_end_time := v_live_end;
    end if;
end
$$;
comment on function record_ledger.next_candidate(
    record_ledger.pipeline,
    timestamptz,
    timestamptz,
    timestamptz[],
    timestamptz,
    numeric,
    timestamptz,
    timestamptz
) is
'Private. Which of a pipeline''s pending records comes next: oldest first, or by the backfill_share.';
-- record_ledger.next_claim_token: the token of a pipeline's next claim, from its newest one and the time.
-- The greater of (the newest + 1) and (milliseconds since 2025-01-01 UTC, shifted by 12 bits), plus 12 random bits:
-- later claims of a pipeline have greater tokens whatever the clock does, and two copies of a ledger draw different
-- ones. The random bits are of the server's strong source; random() would repeat in sessions with the same seed.
-- A clock of 2094 or later gives 2^53 or more, which pass_record refuses.
-- Read by: pass_record, store_new_and_pass_valid_record, under the pipeline's lock.
-- Rules: none.
create or replace function record_ledger.next_claim_token(newest bigint, as_of timestamptz)
returns bigint
language sql
volatile
as $$
    select greatest(
        coalesce(newest, 0) + 1,
        least(
            -- Half a microsecond: a whole millisecond may be a little less as a float.
            floor((date_part('epoch', as_of) - 1735689600) * 1000 + 0.0005), 2199023255552
        )::bigint << 12
    ) + (uuid_hash(gen_random_uuid()) & 4095)
$$;
comment on function record_ledger.next_claim_token(bigint, timestamptz) is
'Private. The token of a pipeline''s next claim: greater than its newest one, and different in each copy of the ledger.';
-- record_ledger.next_lease_mark: before which instant no lease ends once a pass has made one; null when not known.
-- PostgreSQL takes this expression into the one around it.
-- Read by: pass_record, store_new_and_pass_valid_record.
-- Rules: none.
create or replace function record_ledger.next_lease_mark(
    -- The oldest other record in progress; null when there is none.
    first_active timestamptz,
    -- As it was before the pass.
    lease_mark timestamptz,
    -- Of the new lease.
    lease_end timestamptz
)
returns timestamptz
language sql
immutable
as $$
    select case
        when first_active is null then lease_end
        when lease_mark is not null then least(lease_mark, lease_end)
    end
$$;
comment on function record_ledger.next_lease_mark(timestamptz, timestamptz, timestamptz) is
'Private. The lease_mark that a claim notes: before it no lease ends.';
-- record_ledger.next_window: the one window that starts at a given instant.
-- Ends at the earlier of start + granularity (elapsed) and the next local midnight; from 1d on it is the local day.
-- Read by: store_windows (the usual case: one window is due), pipeline_progress, planned_passes.
-- Rules: is_within_day, day_start; windows_from says the same in bulk.
create or replace function record_ledger.next_window(
    window_start_time timestamptz,
    granularity interval,
    timezone text,
    out target_day date,
    out window_end_time timestamptz
)
language plpgsql
immutable strict
as $$
declare
    v_wall constant timestamp := window_start_time at time zone next_window.timezone;
begin
    target_day := v_wall::date;
    window_end_time := window_start_time + next_window.granularity;
    if record_ledger.is_within_day(
        window_start_time, v_wall, next_window.granularity, next_window.timezone
    ) then
        return;
    end if;
    window_end_time := record_ledger.day_start(target_day + 1, next_window.timezone);
    -- Clocks that were set back across midnight still show yesterday, whose end has passed.
    while window_end_time <= window_start_time loop
        target_day := target_day + 1;
        window_end_time := record_ledger.day_start(target_day + 1, next_window.timezone);
    end loop;
    if next_window.granularity < interval '24:00:00' then
        window_end_time := least(window_start_time + next_window.granularity, window_end_time);
    end if;
end
$$;
comment on function record_ledger.next_window(timestamptz, interval, text) is
'The target day and the end of the window that starts at an instant.';
-- record_ledger.next_window_start: where the first window that is not stored yet starts.
-- At the end of the last stored window; before there is one, at the first window's start.
-- Read by: new_windows, windows_to_build, register_store_and_pass, next_answer,
-- planned_passes.
-- Rules: last_window, first_window_start.
create or replace function record_ledger.next_window_start(
    p record_ledger.pipeline, as_of timestamptz
)
returns timestamptz
language sql
stable
as $$
    select coalesce(
        (select l.window_end_time from record_ledger.last_window(p.pipeline_id) as l),
        record_ledger.first_window_start(p, as_of)
    )
$$;
comment on function record_ledger.next_window_start(record_ledger.pipeline, timestamptz) is
'Where the first window of a pipeline that is not stored yet starts.';
-- record_ledger.no_records_reason: the sentence for a pipeline without any open record.
-- Says when the next window is due, since that is when the next run has something to store.
-- Read by: next_answer.
-- Rules: due_reason, shortened.
create or replace function record_ledger.no_records_reason(
    p record_ledger.pipeline,
    -- Where the first window that is not stored yet starts.
    next_start timestamptz,
    as_of timestamptz
)
returns text
language plpgsql
stable
-- Ends the effect of set_config below with this function: a caller's session keeps its time zone.
set timezone = 'UTC'
as $$
declare
    v_timezone text := pg_catalog.set_config('timezone', p.timezone, true);
begin
    if p.is_retired then
        return format(
            'no record is open, and the pipeline was retired by %s at %s: %s',
            p.paused_by, record_ledger.iso_time(p.paused_at),
            record_ledger.shortened(p.pause_reason, 1000)
        );
    end if;
    if next_start < as_of - p.x_time_back then
        return format(
            'no record is open; the next window starts at %s and is due: the next run stores it',
            record_ledger.iso_time(next_start)
        );
    end if;
    return record_ledger.due_reason(next_start, p.x_time_back);
end
$$;
comment on function record_ledger.no_records_reason(
    record_ledger.pipeline, timestamptz, timestamptz
) is
'Why a pipeline without open records has none, and when its next window is due.';
-- record_ledger.note_start_at: raises a notice when a config of a pipeline with records gives another start_at.
-- Its text is the same in each call, whatever the start_at: one that is computed is another one in each.
-- Read by: register_store_and_pass, register_pipeline, configured.
-- Rules: start_instant.
create or replace function record_ledger.note_start_at(p record_ledger.pipeline, config jsonb)
returns void
language plpgsql
stable
as $$
begin
    if nullif(config -> 'start_at', 'null') is distinct from (p.config -> 'start_at')
        and record_ledger.start_instant(config ->> 'start_at', p.timezone)
            is distinct from p.start_at
        and nullif(config -> 'start_at', 'null') is not null
    then
        raise notice
            'start_at: it has no effect, because pipeline % has records already; %',
            p.pipeline_id,
            coalesce(
                'its first window started at ' || (p.config ->> 'start_at'),
                'its first window started without one'
            )
            using errcode = 'RL000', detail = format('The config says %s.', config -> 'start_at'),
            hint = 'backfill_records adds windows before the first one; waive_records skips some.';
    end if;
end
$$;
comment on function record_ledger.note_start_at(record_ledger.pipeline, jsonb) is
'Private. Raises a notice when a config of a pipeline with records gives another start_at.';
-- record_ledger.observation_time: when an observation of a locked record is made, by the server's clock.
-- Never before the record's newest change or observation: a clock that is set back would have history run backwards.
-- Read by: observe_record, adopt_observations.
-- Rules: clock.
create or replace function record_ledger.observation_time(r record_ledger.record)
returns timestamptz
language sql
volatile
as $$
    select greatest(record_ledger.clock(), r.updated_at, max(o.observed_at))
    from record_ledger.record_observation as o
    where o.pipeline_id = r.pipeline_id and o.window_start_time = r.window_start_time
$$;
comment on function record_ledger.observation_time(record_ledger.record) is
'Private. When an observation of a locked record is made: now, and not before its newest change or observation.';
-- record_ledger.oldest_due: the oldest record of a lane that waits for no instant any more; null when there is none.
-- Among those that wait for one, what is due is read by the index of ends: up to fifty, whatever their number. Where
-- more are, it is the oldest of the first fifty of the lane if any of these is due, else the oldest of the fifty whose
-- wait ended first. So a pass costs the same after an outage in which a million records failed.
-- Read by: next_candidate.
-- Rules: lane: only in 'retry' and 'retryh', and among the incomplete ones, is there a retry_at.
create or replace function record_ledger.oldest_due(
    pipeline_id text,
    lane text,
    -- What starts before it is passed over.
    from_time timestamptz,
    as_of timestamptz,
    -- Only what was built with this config or a later one; null for all.
    built_since integer default null
)
returns timestamptz
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    v_most constant integer := 50;
    v_due record;
begin
    if oldest_due.lane not in ('retry', 'retryh') then
        return (
            select r.window_start_time
            from record_ledger.record as r
            where r.open_pipeline_id = oldest_due.pipeline_id and r.lane = oldest_due.lane
                and r.window_start_time >= oldest_due.from_time
                and (r.retry_at is null or r.retry_at <= oldest_due.as_of)
                and (
                    oldest_due.built_since is null or r.config_version >= oldest_due.built_since
                )
            order by r.window_start_time
            limit 1
        );
    end if;
    select count(*) as records, min(d.window_start_time) as oldest into v_due
    from (
        select r.window_start_time
        from record_ledger.record as r
        where r.open_pipeline_id = oldest_due.pipeline_id and r.lane = oldest_due.lane
            and r.lease_expires_at is null and r.retry_at <= oldest_due.as_of
            and r.window_start_time >= oldest_due.from_time
            and (oldest_due.built_since is null or r.config_version >= oldest_due.built_since)
        order by r.lease_expires_at, r.retry_at
        limit v_most
    ) as d;
    if v_due.records < v_most then
        return v_due.oldest;
    end if;
    return least(
        v_due.oldest,
        (
            select min(f.window_start_time)
            from (
                select r.window_start_time, r.retry_at, r.config_version
                from record_ledger.record as r
                where r.open_pipeline_id = oldest_due.pipeline_id and r.lane = oldest_due.lane
                    and r.window_start_time >= oldest_due.from_time
                order by r.window_start_time
                limit v_most
            ) as f
            where f.retry_at <= oldest_due.as_of
                and (oldest_due.built_since is null or f.config_version >= oldest_due.built_since)
        )
    );
end
$$;
comment on function record_ledger.oldest_due(
    text, text, timestamptz, timestamptz, integer
) is
'Private. The oldest record of a lane that waits for no instant any more; null when there is none.';
-- record_ledger.open_counts_problem: counts_problem of the claim that holds a record now; null when none holds it.
-- Asked by the window, and not by the token: who tried tokens could else find out the current one by the answers.
-- Read by: record_verdicts.
-- Rules: counts_problem.
create or replace function record_ledger.open_counts_problem(
    pipeline_id text, window_start_time timestamptz
)
returns text
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select record_ledger.counts_problem(r.pipeline_id, r.window_start_time, r.claim_token)
    from record_ledger.record as r
    where r.pipeline_id = open_counts_problem.pipeline_id
        and r.window_start_time = open_counts_problem.window_start_time
        and r.status = 'IN_PROGRESS'
$$;
comment on function record_ledger.open_counts_problem(text, timestamptz) is
'Why the counts of the claim that holds a record do not suffice to complete it; null when they do, or none are required.';
-- record_ledger.open_windows: the windows of a pipeline that are not done, stored or not.
-- Its open records, and the windows that are due and not stored yet (10,000 of them at most), whose status is null.
-- Read by: records_at_risk, pipeline_progress.
-- Rules: due_windows, next_window_start.
create or replace function record_ledger.open_windows(
    p record_ledger.pipeline, as_of timestamptz
)
returns table (
    window_start_time timestamptz, window_end_time timestamptz, target_day date, status text
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select r.window_start_time, r.window_end_time, r.target_day, r.status
    from record_ledger.record as r
    where r.open_pipeline_id = (p).pipeline_id
    union all
    select d.window_start_time, d.window_end_time, d.target_day, null as status
    from record_ledger.due_windows(
        p, record_ledger.next_window_start(p, as_of), as_of, 10000
    ) as d
$$;
comment on function record_ledger.open_windows(record_ledger.pipeline, timestamptz) is
'The open records of a pipeline, and the windows that are due and not stored yet.';
-- record_ledger.passed_reason: the sentence for a record that is passed.
-- PostgreSQL takes this expression into the one around it.
-- Read by: pass_record, store_new_and_pass_valid_record.
-- Rules: none.
create or replace function record_ledger.passed_reason(
    -- As record_object has it.
    record jsonb,
    run_id text,
    attempt integer,
    max_attempts integer
)
returns text
language sql
stable
as $$
    select concat(
        'window ', record ->> 'window_start_time', ' is passed', ' to run ' || run_id,
        ', attempt ', attempt, ' of ', max_attempts
    )
$$;
comment on function record_ledger.passed_reason(jsonb, text, integer, integer) is
'Private. The sentence for a record that is passed to a run.';
-- record_ledger.pending_in_order: the records that a pipeline can be passed sooner or later, oldest first.
-- Kind 1 are all but the historical ones, kind 2 the historical ones; with kinds 1, kind 1 are all.
-- Reads only as far as it is asked to: each lane comes in the order of the index, and is merged, never sorted.
-- Those in the lanes 'retry' and 'retryh' come when their wait is over: waiting_for_retry has them.
-- Read by: planned_passes. Rules: lane says which lanes there are.
create or replace function record_ledger.pending_in_order(
    pipeline_id text,
    kind integer,
    kinds integer,
    waiting_mark timestamptz,
    -- Lanes of outdated incomplete records of this kind that the config in force completes: three at most.
    outdated_lanes text[],
    -- Only what was built with this config or a later one is complete; null when all is.
    built_since integer
)
returns table (
    window_start_time timestamptz, window_end_time timestamptz, retry_at timestamptz
)
language sql
stable
as $$
    select w.window_start_time, w.window_end_time, w.retry_at
    from (
        -- Each in its own order already: only such parts are merged instead of sorted.
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id and r.lane = 'waiting'
                and pending_in_order.kind = 1
                and r.window_start_time >= coalesce(pending_in_order.waiting_mark, '-infinity')
                and (
                    pending_in_order.built_since is null
                    or r.config_version >= pending_in_order.built_since
                )
            order by r.window_start_time
        )
        union all
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id and r.lane = 'returned'
                and pending_in_order.kind = 1
                and (
                    pending_in_order.built_since is null
                    or r.config_version >= pending_in_order.built_since
                )
            order by r.window_start_time
        )
        union all
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id and r.lane = 'historical'
                and pending_in_order.kind = pending_in_order.kinds
                and (
                    pending_in_order.built_since is null
                    or r.config_version >= pending_in_order.built_since
                )
            order by r.window_start_time
        )
        union all
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id
                and r.lane = pending_in_order.outdated_lanes[1]
            order by r.window_start_time
        )
        union all
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id
                and r.lane = pending_in_order.outdated_lanes[2]
            order by r.window_start_time
        )
        union all
        (
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id
                and r.lane = pending_in_order.outdated_lanes[3]
            order by r.window_start_time
        )
    ) as w
    order by w.window_start_time
$$;
comment on function record_ledger.pending_in_order(
    text, integer, integer, timestamptz, text[], integer
) is
'Private. The records that a pipeline can be passed sooner or later, oldest first, read as far as needed.';
-- record_ledger.pipeline_answer: next_answer for readers, who hold no rights on the tables.
-- What a new run would be answered at an instant.
-- Read by: oldest_valid_record, pipeline_progress.
-- Rules: next_answer, record_verdict.
create or replace function record_ledger.pipeline_answer(
    p record_ledger.pipeline,
    as_of timestamptz,
    out verdict text,
    out reason text,
    out ready_at timestamptz,
    out window_start_time timestamptz
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_answer record := record_ledger.next_answer(p, null, as_of);
    v_verdict record;
    r record_ledger.record;
begin
    verdict := v_answer.verdict;
    reason := v_answer.reason;
    ready_at := v_answer.ready_at;
    window_start_time := v_answer.window_start_time;
    if verdict = 'READY' then
        select q.* into r
        from record_ledger.record as q
        where q.pipeline_id = p.pipeline_id
            and q.window_start_time = pipeline_answer.window_start_time;
        v_verdict := record_ledger.record_verdict(r, p, null, 0, as_of);
        reason := v_verdict.reason;
        ready_at := v_verdict.ready_at;
    end if;
end
$$;
comment on function record_ledger.pipeline_answer(record_ledger.pipeline, timestamptz) is
'What a new run of the pipeline would be answered at an instant.';
-- record_ledger.planned_passes: which window each of the next runs is passed, and when, by the rules of a pass.
-- Workers ask whenever they are free, a run completes after run_duration, claims end as expected_claims says, and what
-- is outdated is built and complete where default_record fills all check_fields. A last row without run_no ends a plan
-- that cannot go on; blocked_by then says on what.
-- Read by: plan_runs.
-- Rules: next_answer and next_candidate, over the records that are still to be passed then; next_window, is_stable,
-- stuck_window, is_lost, is_at_risk, incomplete_lanes, expected_claims, waiting_for_retry.
create or replace function record_ledger.planned_passes(
    p record_ledger.pipeline,
    runs integer,
    as_of timestamptz,
    workers integer,
    run_duration interval
)
returns table (
    run_no integer,
    window_start_time timestamptz,
    window_end_time timestamptz,
    -- Null for a record, which knows its own.
    target_day date,
    starts_at timestamptz,
    -- What a free worker waited for: null, 'time', 'capacity' or 'past'.
    waited_for text,
    -- The backfill_share chose among two that were stable.
    is_shared boolean,
    blocked_by timestamptz,
    -- The first run at whose end no stable window waits any more.
    drains_backlog boolean
)
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    v_now timestamptz := as_of;
    v_duration interval := coalesce(run_duration, interval '0');
    v_newest record;
    v_row record;
    -- What is outdated or not stored yet is complete then, as default_record fills all check_fields.
    v_can_build constant boolean := p.missing_fields is null;
    v_outdated_lanes constant text[] := array(
        select l.lane
        from record_ledger.incomplete_lanes(p.pipeline_id, p.fields_version) as l (lane)
        where p.missing_fields is null
    );
    -- By their ends, so many of each being over by v_now: claims in progress, planned runs, records in backoff.
    v_claims timestamptz[];
    v_claim_ends timestamptz[];
    v_claims_over integer := 0;
    v_ends timestamptz[] := '{}';
    v_ends_over integer := 0;
    v_backoff timestamptz[];
    v_backoff_ends timestamptz[];
    v_backoff_over integer := 0;
    -- Records whose backoff is over, by their start.
    v_ready timestamptz[] := '{}';
    v_ready_kind integer[] := '{}';
    v_place integer;
    -- The oldest open record that no run will ever finish.
    v_stuck timestamptz;
    v_stuck_end timestamptz;
    v_stuck_claims timestamptz[];
    -- Kind 2 are the historical records of a pipeline with a backfill_share, kind 1 all others. Each is a stream of
    -- pending records, oldest first; its head is the next one of it, 'infinity' at its end.
    v_kinds integer := case when p.backfill_share > 0 then 2 else 1 end;
    v_kind integer;
    v_lanes text[];
    v_streams refcursor[];
    v_stream refcursor;
    v_head timestamptz[];
    v_head_end timestamptz[];
    -- Where the window after the stored ones and those of the plan starts, and the day of the newest of these.
    v_first_new constant timestamptz := record_ledger.next_window_start(p, as_of);
    v_new_start timestamptz := v_first_new;
    v_new_day date;
    -- The next record of each kind.
    v_start timestamptz[];
    v_end timestamptz[];
    v_stable boolean[];
    v_is_urgent boolean;
    v_credit numeric;
    v_obstacle text;
    v_waited_for text;
    v_is_drained boolean := false;
begin
    select
        c.waiting_mark,
        c.active_mark,
        -- Not after a lease was shortened.
        case when c.claim_token > coalesce(p.marks_void_at, 0) then c.lease_mark end as lease_mark,
        c.historical_credit
    into v_newest
    from record_ledger.claim as c
    where c.pipeline_id = p.pipeline_id
    order by c.claim_token desc
    limit 1;
    v_credit := coalesce(v_newest.historical_credit, 0);
    select
        coalesce(
            array_agg(c.window_start_time order by c.busy_until)
            filter (where c.busy_until is not null),
            '{}'
        ),
        array_agg(c.busy_until order by c.busy_until) filter (where c.busy_until is not null),
        coalesce(
            array_agg(c.window_start_time order by c.retry_at)
            filter (where c.retry_at is not null),
            '{}'
        ),
        coalesce(
            array_agg(c.retry_at order by c.retry_at) filter (where c.retry_at is not null), '{}'
        ),
        array_agg(c.window_start_time) filter (where c.is_stuck)
    into v_claims, v_claim_ends, v_backoff, v_backoff_ends, v_stuck_claims
    from (
        select e.window_start_time, e.busy_until, e.retry_at, e.is_stuck
        from record_ledger.expected_claims(
            p, v_newest.active_mark, v_newest.lease_mark, 10 * runs, run_duration, as_of
        ) as e
        union all
        select w.window_start_time, null, w.retry_at, null
        from record_ledger.waiting_for_retry(p, runs) as w
    ) as c;
    for k in 1 .. v_kinds loop
        v_stream := null;
        v_lanes := array(
            select l.lane
            from unnest(v_outdated_lanes) as l (lane)
            where v_kinds = 1 or (l.lane like '%h') = (k = 2)
        );
        if cardinality(v_lanes) <= 3 then
            open v_stream for
                select w.window_start_time, w.window_end_time, w.retry_at
                from record_ledger.pending_in_order(
                    p.pipeline_id, k, v_kinds, v_newest.waiting_mark, v_lanes,
                    case when not v_can_build then p.fields_version end
                ) as w;
        else
            -- Four configs in turn that each left incomplete records: sorted, for once.
            open v_stream for
                select w.window_start_time, w.window_end_time, w.retry_at
                from record_ledger.pending_in_order(
                    p.pipeline_id, k, v_kinds, v_newest.waiting_mark, v_lanes[:3],
                    case when not v_can_build then p.fields_version end
                ) as w
                union all
                select r.window_start_time, r.window_end_time, r.retry_at
                from record_ledger.record as r
                where r.open_pipeline_id = p.pipeline_id and r.lane = any (v_lanes[4:])
                order by window_start_time;
        end if;
        v_streams[k] := v_stream;
    end loop;

    <<plan>>
    for v_run in 1 .. runs + 1 loop
        -- A worker that was free all along goes on waiting for what the one before it waited for.
        if v_ends[v_run - workers] >= v_now then
            v_now := v_ends[v_run - workers];
            v_waited_for := null;
        end if;
        loop
            -- ------------------------------------------------ what is over by now
            while v_claim_ends[v_claims_over + 1] <= v_now loop
                v_claims_over := v_claims_over + 1;
            end loop;
            while v_ends[v_ends_over + 1] <= v_now loop
                v_ends_over := v_ends_over + 1;
            end loop;
            while v_backoff_ends[v_backoff_over + 1] <= v_now loop
                v_backoff_over := v_backoff_over + 1;
                select
                    r.window_start_time,
                    case when r.is_historical then v_kinds else 1 end as kind
                into v_row
                from record_ledger.record as r
                where r.pipeline_id = p.pipeline_id
                    and r.window_start_time = v_backoff[v_backoff_over];
                v_place := width_bucket(v_row.window_start_time, v_ready);
                v_ready := v_ready[:v_place] || v_row.window_start_time || v_ready[v_place + 1:];
                v_ready_kind := v_ready_kind[:v_place] || v_row.kind || v_ready_kind[v_place + 1:];
            end loop;

            -- ------------------------------------------------ what no run will ever finish, until it is lost
            while v_stuck_end is null
                or record_ledger.is_lost(v_stuck_end, p.source_retention, v_now)
            loop
                v_row := record_ledger.stuck_window(
                    p, v_stuck_end, v_stuck_claims
                );
                v_stuck := v_row.window_start_time;
                v_stuck_end := coalesce(v_row.window_end_time, 'infinity');
            end loop;

            -- ------------------------------------------------ the next record of each kind
            for k in 1 .. v_kinds loop
                v_stream := v_streams[k];
                while v_head[k] is null
                    or record_ledger.is_lost(v_head_end[k], p.source_retention, v_now)
                loop
                    v_head[k] := null;
                    fetch v_stream into v_row;
                    if record_ledger.is_lost(v_row.window_end_time, p.source_retention, v_now) then
                        continue;
                    elsif v_row.retry_at > v_now then
                        v_row.retry_at := least(
                            v_row.retry_at, v_row.window_end_time + p.source_retention
                        );
                        v_place := width_bucket(v_row.retry_at, v_backoff_ends);
                        v_backoff := v_backoff[:v_place] || v_row.window_start_time
                            || v_backoff[v_place + 1:];
                        v_backoff_ends := v_backoff_ends[:v_place] || v_row.retry_at
                            || v_backoff_ends[v_place + 1:];
                    elsif v_row.window_start_time is not null then
                        v_head[k] := v_row.window_start_time;
                        v_head_end[k] := v_row.window_end_time;
                    elsif k = 1 and v_can_build then
                        -- Not stored yet: whatever is stable is due as well, so the run that is passed it stores it.
                        v_row := record_ledger.next_window(v_new_start, p.granularity, p.timezone);
                        v_head[k] := v_new_start;
                        v_head_end[k] := v_row.window_end_time;
                        v_new_day := v_row.target_day;
                        v_new_start := v_row.window_end_time;
                    else
                        v_head[k] := 'infinity';
                        v_head_end[k] := 'infinity';
                    end if;
                end loop;
                v_start[k] := v_head[k];
                v_end[k] := v_head_end[k];
                loop
                    v_place := array_position(v_ready_kind, k);
                    exit when v_ready[v_place] < v_head[k] is not true;
                    v_start[k] := v_ready[v_place];
                    v_end[k] := (
                        select r.window_end_time
                        from record_ledger.record as r
                        where r.pipeline_id = p.pipeline_id and r.window_start_time = v_start[k]
                    );
                    exit when not record_ledger.is_lost(v_end[k], p.source_retention, v_now);
                    v_ready := v_ready[:v_place - 1] || v_ready[v_place + 1:];
                    v_ready_kind := v_ready_kind[:v_place - 1] || v_ready_kind[v_place + 1:];
                    v_start[k] := v_head[k];
                    v_end[k] := v_head_end[k];
                end loop;
                v_stable[k] := record_ledger.is_stable(v_end[k], p.x_time_back, v_now);
            end loop;
            if run_no is not null then
                -- Only now is it known whether the run before leaves anything behind.
                drains_backlog := not v_is_drained
                    and not record_ledger.is_stable(v_end[1], p.x_time_back, v_ends[run_no])
                    and record_ledger.is_stable(v_end[2], p.x_time_back, v_ends[run_no])
                        is not true
                    and not exists (
                        select
                        from unnest(v_backoff[v_backoff_over + 1:]) as b (window_start_time)
                        cross join lateral (
                            select r.window_end_time
                            from record_ledger.record as r
                            where r.pipeline_id = p.pipeline_id
                                and r.window_start_time = b.window_start_time
                            limit 1
                        ) as e
                        where record_ledger.is_stable(
                                e.window_end_time, p.x_time_back, v_ends[run_no]
                            )
                    );
                v_is_drained := v_is_drained or drains_backlog;
                return next;
                run_no := null;
            end if;
            exit plan when v_run > runs;

            -- ------------------------------------------------ which of them, and can it be passed
            v_is_urgent := v_stable[1] and v_stable[2] is true and p.pass_order = 'deadline'
                and record_ledger.is_at_risk(least(v_end[1], v_end[2]), p, v_now);
            is_shared := v_stable[1] and v_stable[2] is true and not v_is_urgent;
            v_kind := case
                when v_is_urgent then 1 + (v_start[2] < v_start[1])::integer
                when is_shared and v_credit + p.backfill_share >= 1 then 2
                when v_stable[2] and not v_stable[1] then 2
                else 1
            end;
            window_start_time := v_start[v_kind];
            window_end_time := v_end[v_kind];
            v_obstacle := case
                when not v_stable[v_kind] then 'time'
                when v_run - 1 - v_ends_over + cardinality(v_claims) - v_claims_over
                    >= p.max_active_records then 'capacity'
                when p.depends_on_past and (
                    v_ends_over < v_run - 1
                    or window_start_time > any (v_claims[v_claims_over + 1:])
                    or window_start_time > any (v_backoff[v_backoff_over + 1:])
                    or window_start_time > v_stuck
                ) then 'past'
            end;
            exit when v_obstacle is null;
            v_waited_for := v_obstacle;
            v_now := least(
                v_backoff_ends[v_backoff_over + 1],
                v_claim_ends[v_claims_over + 1],
                v_ends[v_ends_over + 1],
                case when v_obstacle = 'past' then v_stuck_end + p.source_retention end,
                case when not v_stable[1] then v_end[1] + p.x_time_back end,
                case when not v_stable[2] then v_end[2] + p.x_time_back end
            );
            if v_now is null or v_now = 'infinity' then
                -- Nothing changes any more.
                return query
                select null::integer, null::timestamptz, null::timestamptz, null::date,
                    null::timestamptz, null, null::boolean,
                    case when v_obstacle = 'past' then v_stuck end, null::boolean;
                exit plan;
            end if;
        end loop;

        -- ---------------------------------------------------- passed
        run_no := v_run;
        starts_at := v_now;
        waited_for := v_waited_for;
        target_day := case when window_start_time >= v_first_new then v_new_day end;
        v_ends := v_ends || (v_now + v_duration);
        if is_shared then
            v_credit := v_credit + p.backfill_share - (v_kind = 2)::integer;
        end if;
        if window_start_time = v_head[v_kind] then
            v_head[v_kind] := null;
        else
            v_place := array_position(v_ready, window_start_time);
            v_ready := v_ready[:v_place - 1] || v_ready[v_place + 1:];
            v_ready_kind := v_ready_kind[:v_place - 1] || v_ready_kind[v_place + 1:];
        end if;
    end loop;
    foreach v_stream in array v_streams loop
        close v_stream;
    end loop;
end
$$;
comment on function record_ledger.planned_passes(
    record_ledger.pipeline, integer, timestamptz, integer, interval
) is
'Private. Which window each of the next runs of a pipeline is passed, and when, by the rules of a pass.';
-- record_ledger.postponement: until when a record that is given back waits, and for whom; null when it does not wait.
-- A time that is past keeps nobody from it. One after half of the time that its source data has left is brought forward
-- to that, and the time that was asked for is kept beside it.
-- Read by: end_claim.
-- Rules: half_of_time_left.
create or replace function record_ledger.postponement(
    run_id text,
    window_end_time timestamptz,
    p record_ledger.pipeline,
    asked timestamptz,
    as_of timestamptz
)
returns jsonb
language plpgsql
stable
as $$
declare
    v_until constant timestamptz := least(
        asked,
        as_of + interval '1 second' * record_ledger.half_of_time_left(window_end_time, p, as_of)
    );
begin
    if v_until <= as_of then
        return null;
    end if;
    return jsonb_strip_nulls(jsonb_build_object(
        'not_before', record_ledger.local_time(v_until, p.timezone),
        'asked_not_before', case
            when v_until < asked then record_ledger.local_time(asked, p.timezone)
        end,
        'released_by', session_user,
        'run_id', run_id
    ));
end
$$;
comment on function record_ledger.postponement(
    text, timestamptz, record_ledger.pipeline, timestamptz, timestamptz
) is
'Private. Until when a record that is given back with not_before waits, and who gave it back; null when it does not wait.';
-- record_ledger.read_config: a config as the row of the pipeline it describes, with every default filled in.
-- Writes nothing; raises RL001 with all problems in one error.
-- Read by: configured.
-- Rules: config_problems, start_problem, duration, start_instant, recount_ages.
create or replace function record_ledger.read_config(config jsonb)
returns record_ledger.pipeline
language plpgsql
stable
as $$
declare
    v_pipeline_id constant text := case jsonb_typeof(config)
        when 'object' then coalesce(
            config ->> 'pipeline_id', config #>> '{default_record,pipeline_id}'
        )
    end;
    v_problems text[];
    p record_ledger.pipeline;
begin
    v_problems := record_ledger.config_problems(
        config,
        exists (select from record_ledger.pipeline as q where q.pipeline_id = v_pipeline_id),
        exists (
            select
            from record_ledger.pipeline as q
            where q.pipeline_id = v_pipeline_id
                and q.timezone = read_config.config ->> 'timezone'
        ) or exists (
            select
            from record_ledger.pipeline_event as e
            where e.pipeline_id = v_pipeline_id
                and e.detail #>> '{config,timezone}' = read_config.config ->> 'timezone'
        )
    );
    if cardinality(v_problems) = 0 then
        v_problems := array_remove(
            array[record_ledger.start_problem(config, v_pipeline_id)], null
        );
    end if;
    if cardinality(v_problems) > 0 then
        raise exception '%', concat(
            'invalid config',
            ' of pipeline "' || left(v_pipeline_id, 80) || '"',
            ': ',
            case
                when cardinality(v_problems) > 1
                    then cardinality(v_problems) || E' problems\n  - '
            end,
            -- A config may be wrong in thousands of places, and nobody reads a message of megabytes.
            array_to_string(v_problems[1:20], E'\n  - '),
            E'\n  - and ' || nullif(greatest(cardinality(v_problems) - 20, 0), 0) || ' more'
        )
            using errcode = 'RL001';
    end if;
    p.pipeline_id := v_pipeline_id;
    p.config := config;
    p.config_version := 1;
    p.timezone := config ->> 'timezone';
    p.x_time_back := record_ledger.duration(config ->> 'x_time_back');
    p.granularity := record_ledger.duration(config ->> 'granularity');
    p.fields := (config -> 'default_record') - 'pipeline_id';
    p.has_templates := jsonb_path_exists(
        p.fields, 'strict $.** ? (@.type() == "string" && @ like_regex "[{][{%#]")'
    );
    p.check_fields := array(
        select jsonb_array_elements_text(coalesce(config -> 'check_fields', '[]'))
    );
    p.start_at := record_ledger.start_instant(config ->> 'start_at', p.timezone);
    -- JSON may write a whole number as 3.0.
    p.max_active_records := (config ->> 'max_active_records')::numeric::integer;
    p.depends_on_past := coalesce((config ->> 'depends_on_past')::boolean, false);
    p.lease := record_ledger.duration(coalesce(config ->> 'lease', '1h'));
    p.max_attempts := coalesce((config ->> 'max_attempts')::numeric::integer, 3);
    p.retry_delay := record_ledger.duration(coalesce(config ->> 'retry_delay', '5m'));
    p.backfill_share := coalesce((config ->> 'backfill_share')::numeric, 0);
    p.is_retired := false;
    if config ? 'required_counts' then
        -- A list of stages is short for an object that holds it.
        p.required_counts := jsonb_build_object(
            'stages',
            coalesce(config #> '{required_counts,stages}', config -> 'required_counts'),
            'tolerance',
            coalesce(config #>> '{required_counts,tolerance}', '0 rows')
        );
    end if;
    p.source_retention := record_ledger.duration(config ->> 'source_retention');
    p.at_risk_within := coalesce(
        record_ledger.duration(config ->> 'at_risk_within'), p.source_retention / 4
    );
    p.pass_order := coalesce(config ->> 'pass_order', 'oldest');
    p.recount_ages := record_ledger.recount_ages(config -> 'recount_ages');
    p.reopen_budget := coalesce((config ->> 'reopen_budget')::numeric::integer, 10);
    return p;
end
$$;
comment on function record_ledger.read_config(jsonb) is
'A config as the row of the pipeline it describes; raises RL001 with all problems in one error.';
-- record_ledger.record_json: a record as callers get it, flat: its fields and the ledger's columns.
-- Times are ISO 8601 with the offset that the server reckons for the pipeline's zone.
-- Read by: pass_record, oldest_pending_record.
-- Rules: record_object.
create or replace function record_ledger.record_json(r record_ledger.record, timezone text)
returns jsonb
language plpgsql
stable
-- Ends the effect of set_config below with this function: a caller's session keeps its time zone.
set timezone = 'UTC'
as $$
declare
    -- to_jsonb then writes every instant with this zone's offset, many times faster than format functions could.
    v_timezone text := pg_catalog.set_config('timezone', record_json.timezone, true);
begin
    return record_ledger.record_object(r);
end
$$;
comment on function record_ledger.record_json(record_ledger.record, text) is
'A record flat as JSON: its fields and the ledger''s columns, times in the pipeline''s zone.';
-- record_ledger.record_object: a record as callers get it, flat: its fields and the ledger's columns.
-- Times are ISO 8601 with the offset of the time zone in force, which the caller has set to the pipeline's: PostgreSQL
-- takes this expression into the statement around it.
-- Read by: record_json, store_new_and_pass_valid_record.
-- Rules: time_interval. Names are qualified (README.md, Names).
create or replace function record_ledger.record_object(r record_ledger.record)
returns jsonb
language sql
stable
as $$
    select (r).fields || pg_catalog.jsonb_build_object(
        'pipeline_id', (r).pipeline_id,
        'target_day', (r).target_day,
        'window_start_time', (r).window_start_time,
        'window_end_time', (r).window_end_time,
        'time_interval', record_ledger.time_interval(
            (r).window_start_time, (r).window_end_time
        ),
        'status', (r).status,
        'generation', (r).generation,
        'attempt', (r).attempt,
        'claim_token', (r).claim_token,
        'run_id', (r).run_id,
        'lease_expires_at', (r).lease_expires_at,
        'created_at', (r).created_at,
        'updated_at', (r).updated_at
    )
$$;
comment on function record_ledger.record_object(record_ledger.record) is
'Private. A record flat as JSON: its fields and the ledger''s columns, times in the time zone in force.';
-- record_ledger.record_verdict: the one verdict on an open record at an instant, and a sentence that says why.
-- Where several hold, the first of: LEASE_EXPIRED, LEASED, LOST, FAILED, PAUSED, INCOMPLETE, UNSTABLE, BACKOFF,
-- BLOCKED, AT_CAPACITY, READY. ready_at: when it can be passed as things stand; null when that depends on somebody.
-- Read by: record_verdicts, next_answer, pipeline_answer.
-- Rules: is_stable, is_lost, retry_time, attempt_ending, unstable_reason, shortened.
create or replace function record_ledger.record_verdict(
    r record_ledger.record,
    p record_ledger.pipeline,
    earliest_open timestamptz,
    active_count bigint,
    as_of timestamptz,
    out verdict text,
    out reason text,
    out ready_at timestamptz
)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
-- Ends the effect of set_config below with this function: a caller's session keeps its time zone.
set timezone = 'UTC'
as $$
declare
    v_stable_at timestamptz := r.window_end_time + p.x_time_back;
    v_timezone text := pg_catalog.set_config(
        'timezone', record_ledger.window_timezone(p, r.window_start_time), true
    );
    v_window text;
    v_is_lost boolean := record_ledger.is_lost(r.window_end_time, p.source_retention, as_of);
    -- The pass builds an outdated record, so what counts is whether default_record fills its check_fields.
    v_missing constant text[] := case
        when r.config_version >= p.fields_version then r.missing_fields
        else p.missing_fields
    end;
begin
    v_window := 'window ' || record_ledger.iso_time(r.window_start_time);
    if v_is_lost and r.status <> 'IN_PROGRESS' then
        verdict := 'LOST';
        reason := format(
            '%s is lost: its source data was kept until %s, %s after its end; '
            'the next pass waives it',
            v_window, record_ledger.iso_time(r.window_end_time + p.source_retention),
            p.config ->> 'source_retention'
        );
    elsif r.status = 'FAILED' then
        verdict := 'FAILED';
        reason := format(
            '%s failed for good at %s%s: %s', v_window,
            record_ledger.iso_time(r.updated_at),
            -- A cancelled record may have attempts left, and a released attempt is not counted.
            case
                when not coalesce(r.last_detail ? 'cancelled_by', false)
                    then format(' after attempt %s of %s', r.attempt, p.max_attempts)
            end,
            record_ledger.attempt_ending(r.last_event, r.last_detail)
        );
    elsif r.status = 'IN_PROGRESS' and r.lease_expires_at <= as_of then
        verdict := 'LEASE_EXPIRED';
        if r.attempt < p.max_attempts and not v_is_lost and r.cancellation is null
            and p.paused_at is null and v_missing is null
        then
            ready_at := record_ledger.retry_time(
                r.lease_expires_at, r.attempt, r.window_end_time, p
            );
        end if;
        reason := format(
            '%s was passed to %s, whose lease expired at %s; the next pass %s',
            v_window,
            coalesce('run ' || r.run_id, 'a run without an id'),
            record_ledger.iso_time(r.lease_expires_at),
            case
                when v_is_lost then 'waives it as lost: its source data was kept until '
                    || record_ledger.iso_time(r.window_end_time + p.source_retention)
                when r.cancellation is not null
                    then 'marks it failed, as '
                        || record_ledger.attempt_ending(r.last_event, r.cancellation)
                when r.attempt >= p.max_attempts
                    then format(
                        'marks it failed, as attempt %s of %s is used up',
                        r.attempt,
                        p.max_attempts
                    )
                when p.paused_at is not null
                    then 'makes it pending, and the pipeline is '
                        || case when p.is_retired then 'retired' else 'paused' end
                when ready_at is null then 'makes it pending, and it is incomplete'
                when ready_at <= as_of then 'may pass it again'
                else 'makes it pending, to be passed again from '
                    || record_ledger.iso_time(ready_at) || ' on'
            end
        );
    elsif r.status = 'IN_PROGRESS' then
        verdict := 'LEASED';
        reason := format(
            '%s is in progress: %s holds it, attempt %s of %s, until its lease ends at %s%s',
            v_window,
            coalesce('run ' || r.run_id, 'a run without an id'),
            r.attempt,
            p.max_attempts,
            record_ledger.iso_time(r.lease_expires_at),
            '; ' || record_ledger.attempt_ending(r.last_event, r.cancellation)
                || ' (at ' || (r.cancellation ->> 'cancelled_at') || '), so its run is to stop'
        );
    elsif p.paused_at is not null then
        verdict := 'PAUSED';
        reason := format(
            'the pipeline was %s by %s at %s: %s',
            case when p.is_retired then 'retired' else 'paused' end,
            p.paused_by,
            record_ledger.iso_time(p.paused_at),
            record_ledger.shortened(p.pause_reason, 1000)
        );
    elsif v_missing is not null then
        verdict := 'INCOMPLETE';
        reason := format(
            '%s is incomplete: %s %s empty, and the pipeline''s config cannot fill it',
            v_window,
            record_ledger.shortened(array_to_string(v_missing, ', '), 1000),
            case cardinality(v_missing) when 1 then 'is' else 'are' end
        );
    elsif not record_ledger.is_stable(r.window_end_time, p.x_time_back, as_of) then
        verdict := 'UNSTABLE';
        ready_at := greatest(v_stable_at, r.retry_at);
        reason := record_ledger.unstable_reason(
            r.window_start_time, r.window_end_time, p.x_time_back, p.config ->> 'x_time_back'
        );
    elsif r.retry_at > as_of and r.postponement is not null then
        verdict := 'BACKOFF';
        ready_at := r.retry_at;
        reason := format(
            '%s was given back by %s (%s), to be passed to no run before %s%s',
            v_window,
            coalesce('run ' || (r.postponement ->> 'run_id'), 'a run without an id'),
            r.postponement ->> 'released_by',
            record_ledger.iso_time(r.retry_at),
            '; the run asked for ' || (r.postponement ->> 'asked_not_before')
                || ', after half of the time that its source data has left'
        );
    elsif r.retry_at > as_of then
        verdict := 'BACKOFF';
        ready_at := r.retry_at;
        reason := format(
            '%s is tried again from %s on, after attempt %s of %s: %s', v_window,
            record_ledger.iso_time(r.retry_at), r.attempt, p.max_attempts,
            record_ledger.attempt_ending(r.last_event, r.last_detail)
        );
    elsif p.depends_on_past and earliest_open < r.window_start_time then
        verdict := 'BLOCKED';
        reason := format(
            '%s waits for the earlier window %s, which is still open (depends_on_past)', v_window,
            record_ledger.iso_time(earliest_open)
        );
    elsif active_count >= p.max_active_records then
        verdict := 'AT_CAPACITY';
        reason := format(
            '%s waits: %s of %s records are in progress (max_active_records)',
            v_window,
            active_count,
            p.max_active_records
        );
    else
        verdict := 'READY';
        ready_at := greatest(v_stable_at, r.retry_at);
        reason := format(
            '%s is stable since %s and complete', v_window, record_ledger.iso_time(v_stable_at)
        );
    end if;
end
$$;
comment on function record_ledger.record_verdict(
    record_ledger.record, record_ledger.pipeline, timestamptz, bigint, timestamptz
) is
'The one verdict on an open record at an instant, a sentence that says why, and when the record can be passed.';
-- record_ledger.recount_ages: a config's recount_ages as elapsed time, each once, ascending; without any the default.
-- Null when one of them is no duration.
-- Read by: read_config, is_same_config.
-- Rules: duration.
create or replace function record_ledger.recount_ages(ages jsonb)
returns interval[]
language plpgsql
immutable
as $$
declare
    v_ages interval[];
begin
    if ages is null then
        return '{01:00:00,24:00:00,168:00:00}';
    end if;
    if jsonb_typeof(ages) <> 'array' then
        return null;
    end if;
    select coalesce(array_agg(distinct d.age order by d.age), '{}') into v_ages
    from jsonb_array_elements_text(ages) as a (age_text)
    cross join lateral record_ledger.duration(a.age_text) as d (age);
    return case when array_position(v_ages, null) is null then v_ages end;
end
$$;
comment on function record_ledger.recount_ages(jsonb) is
'Private. A config''s recount_ages as elapsed time, each once, ascending; null when one is no duration.';
-- record_ledger.recount_problems: what is wrong with a config's recount_ages and reopen_budget.
-- One sentence each, naming the key, the value and what would be valid.
-- Read by: config_problems.
-- Rules: duration.
create or replace function record_ledger.recount_problems(config jsonb)
returns text[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problems text[] := '{}';
    v_ages jsonb := config -> 'recount_ages';
    v_budget jsonb := config -> 'reopen_budget';
    v_age jsonb;
begin
    if v_ages is not null and jsonb_typeof(v_ages) <> 'array' then
        v_problems := v_problems || format(
            'recount_ages: %s is no list; give durations such as ["1h", "1d", "7d"]',
            left(v_ages::text, 80)
        );
    elsif jsonb_array_length(v_ages) > 100 then
        v_problems := v_problems || format(
            'recount_ages: %s ages are too many; give at most 100', jsonb_array_length(v_ages)
        );
    elsif v_ages is not null then
        for v_age in select e.element from jsonb_array_elements(v_ages) as e (element) loop
            if jsonb_typeof(v_age) <> 'string'
                or record_ledger.duration(v_age #>> '{}')
                    between interval '1 second' and interval '876000 hours' is not true
            then
                v_problems := v_problems || format(
                    'recount_ages: %s is no duration from "1s" to "36500d"; give units, '
                    'such as "1h" or "1d12h"',
                    left(v_age::text, 80)
                );
            end if;
        end loop;
    end if;
    if v_budget is not null
        and (jsonb_typeof(v_budget) <> 'number' or v_budget::text !~ '^[0-9]{1,9}([.]0+)?$')
    then
        v_problems := v_problems || format(
            'reopen_budget: %s is no whole number from 0 to 999999999', left(v_budget::text, 80)
        );
    end if;
    return v_problems;
end
$$;
comment on function record_ledger.recount_problems(jsonb) is
'Private. What is wrong with a config''s recount_ages and reopen_budget, one sentence each.';
-- record_ledger.refuse_change: history is only ever appended, and pipelines are never deleted.
-- Whoever tries gets RL003, the owner of the tables included.
-- Called by: triggers on all ledger tables, for truncates, and for updates and deletes where rows are append-only.
-- Rules: none. Deletes of what goes to the archive: check_record_archived, check_events_archived,
-- check_observations_archived.
create or replace function record_ledger.refuse_change()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'illegal change: % of %.% is refused, the ledger keeps its history',
        lower(tg_op), tg_table_schema, tg_table_name using errcode = 'RL003';
end
$$;
comment on function record_ledger.refuse_change() is
'Private. Trigger: refuses to delete or rewrite history (RL003).';

do $$
declare
    v_table text;
    v_changes text;
begin
    for v_table, v_changes in
        values
            ('pipeline', 'delete'),
            ('pipeline_event', 'update or delete'),
            ('record', null),
            ('record_event', 'update'),
            ('record_observation', 'update'),
            ('claim', 'update or delete'),
            -- Partitions take this trigger from their table; create_archive_partitions gives them the other one.
            ('archived_record', 'update or delete'),
            ('archived_record_event', 'update or delete'),
            ('archived_record_observation', 'update or delete')
    loop
        if v_changes is not null and not exists (
            select
            from pg_catalog.pg_trigger as t
            where t.tgrelid = format('record_ledger.%I', v_table)::regclass
                and t.tgname = 'refuse_change'
        ) then
            execute format(
                'create trigger refuse_change before %s on record_ledger.%I '
                'for each row execute function record_ledger.refuse_change()',
                v_changes, v_table
            );
        end if;
        if not exists (
            select
            from pg_catalog.pg_trigger as t
            where t.tgrelid = format('record_ledger.%I', v_table)::regclass
                and t.tgname = 'refuse_truncate'
        ) then
            execute format(
                'create trigger refuse_truncate before truncate on record_ledger.%I '
                'for each statement execute function record_ledger.refuse_change()', v_table
            );
        end if;
    end loop;
end
$$;
-- record_ledger.required_counts_problems: everything that is wrong with a config's required_counts, one sentence each.
-- A list of stages, or an object of "stages" and "tolerance". Empty when it is valid, or not given.
-- Read by: config_problems.
-- Rules: is_stage, count_tolerance, near_names.
create or replace function record_ledger.required_counts_problems(required_counts jsonb)
returns text[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problems text[] := '{}';
    v_stages jsonb := required_counts -> 'stages';
    v_keys constant text[] := array['stages', 'tolerance'];
    v_key text;
    v_near text[];
    v_stage jsonb;
    v_seen jsonb := '[]';
    v_key_count integer;
begin
    if required_counts is null then
        return v_problems;
    end if;
    if jsonb_typeof(required_counts) = 'array' then
        v_stages := required_counts;
    elsif jsonb_typeof(required_counts) <> 'object' then
        return v_problems || format(
            'required_counts: %s is neither a list of stages nor an object; '
            'give one such as {"stages": ["source", "target"], "tolerance": "0.1%%"}',
            left(required_counts::text, 80)
        );
    else
        select count(*) into v_key_count from jsonb_object_keys(required_counts) as k;
        if v_key_count > 20 then
            return v_problems || format(
                'required_counts: it has %s keys; give "stages" and, if you like, "tolerance"',
                v_key_count
            );
        end if;
        for v_key in select k from jsonb_object_keys(required_counts) as k order by k loop
            if v_key <> all (v_keys) then
                v_near := record_ledger.near_names(v_key, v_keys);
                v_problems := v_problems || format(
                    'required_counts: it has no key "%s"; %s', left(v_key, 80),
                    case cardinality(v_near)
                        when 0 then 'give "stages" and, if you like, "tolerance"'
                        else 'did you mean "' || v_near[1] || '"?'
                    end
                );
            end if;
        end loop;
        v_key := required_counts ->> 'tolerance';
        if jsonb_typeof(required_counts -> 'tolerance') not in ('string', 'null')
            or v_key is not null and record_ledger.count_tolerance(v_key, 0) is null
        then
            v_problems := v_problems || format(
                'required_counts: tolerance %s is neither a number of rows nor a percentage; '
                'give one such as "5 rows" or "0.1%%"',
                left((required_counts -> 'tolerance')::text, 80)
            );
        end if;
        if v_stages is null then
            return v_problems
                || 'required_counts: stages are missing; give those whose counts must agree, '
                'such as ["source", "target"]'::text;
        end if;
    end if;

    if jsonb_typeof(v_stages) <> 'array' then
        return v_problems || format(
            'required_counts: stages %s is no list; '
            'give the stages whose counts must agree, such as ["source", "target"]',
            left(v_stages::text, 80)
        );
    end if;
    -- Each look at a record in progress looks for the counts of each stage.
    if jsonb_array_length(v_stages) > 100 then
        return v_problems || format(
            'required_counts: %s stages are too many; give at most 100',
            jsonb_array_length(v_stages)
        );
    end if;
    for v_stage in select e.element from jsonb_array_elements(v_stages) as e (element) loop
        if jsonb_typeof(v_stage) <> 'string' or not record_ledger.is_stage(v_stage #>> '{}') then
            v_problems := v_problems || format(
                'required_counts: %s is no name of a stage; give a text of 1 to 255 bytes',
                left(v_stage::text, 80)
            );
        elsif v_seen @> v_stage then
            v_problems := v_problems || format(
                'required_counts: stage %s is given twice', left(v_stage::text, 80)
            );
        end if;
        v_seen := v_seen || jsonb_build_array(v_stage);
    end loop;
    if jsonb_array_length(v_stages) < 2 then
        v_problems := v_problems || format(
            'required_counts: stages %s are less than two; give at least two that must agree, '
            'such as ["source", "target"]',
            left(v_stages::text, 80)
        );
    end if;
    return v_problems;
end
$$;
comment on function record_ledger.required_counts_problems(jsonb) is
'Everything that is wrong with required_counts, one sentence each, naming the value and what would be valid.';
-- record_ledger.retention_problems: what is wrong with a config's source_retention and what depends on it.
-- That they are durations is said elsewhere: here it is about what they mean together, and with other keys.
-- Read by: config_problems.
-- Rules: duration.
create or replace function record_ledger.retention_problems(config jsonb)
returns text[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problems text[] := '{}';
    v_retention text := left((config -> 'source_retention')::text, 80);
    v_source_retention interval := record_ledger.duration(config ->> 'source_retention');
    v_x_time_back interval := record_ledger.duration(config ->> 'x_time_back');
    v_at_risk_within interval := record_ledger.duration(config ->> 'at_risk_within');
    v_order jsonb := config -> 'pass_order';
begin
    if v_source_retention <= v_x_time_back then
        v_problems := v_problems || format(
            'source_retention: %s is not longer than x_time_back %s, so source data would be gone '
            'before it has settled',
            v_retention, config -> 'x_time_back'
        );
    end if;
    if config ? 'at_risk_within' and not config ? 'source_retention' then
        v_problems := v_problems || format(
            'at_risk_within: %s goes with a source_retention only; give how long after a window''s '
            'end its source data is kept',
            left((config -> 'at_risk_within')::text, 80)
        );
    elsif v_at_risk_within > v_source_retention then
        v_problems := v_problems || format(
            'at_risk_within: %s is longer than source_retention %s; give a part of it',
            config -> 'at_risk_within', v_retention
        );
    end if;
    if v_order not in ('"oldest"', '"deadline"') then
        v_problems := v_problems || format(
            'pass_order: %s is neither "oldest" nor "deadline"', left(v_order::text, 80)
        );
    elsif v_order = '"deadline"' and not config ? 'source_retention' then
        v_problems := v_problems || (
            'pass_order: "deadline" goes with a source_retention only; give how long after a '
            'window''s end its source data is kept'
        )::text;
    end if;
    if v_order = '"deadline"' and config -> 'depends_on_past' = 'true' then
        v_problems := v_problems || (
            'pass_order: "deadline" goes with no depends_on_past, which passes strictly in order; '
            'leave one of them out'
        )::text;
    end if;
    return v_problems;
end
$$;
comment on function record_ledger.retention_problems(jsonb) is
'Private. What is wrong with a config''s source_retention, at_risk_within and pass_order, one sentence each.';
-- record_ledger.retry_time: when a record that failed may be passed again.
-- retry_delay after the first failed attempt, doubled after each further one, never more than a day (or retry_delay),
-- and with a source_retention at most half of the time that is left: a backoff never loses a record.
-- Read by: end_claim, expire_leases, collect_expired_leases, next_candidate, deciding_record, record_verdict,
-- expected_claims, plan_runs.
-- Rules: half_of_time_left. Types are exact and names qualified (README.md, Names).
create or replace function record_ledger.retry_time(
    failed_at timestamptz,
    attempt integer,
    window_end_time timestamptz,
    p record_ledger.pipeline
)
returns timestamptz
language sql
-- Not immutable, though elapsed time is: adding to an instant counts as stable, and only then is the call inlined.
stable
as $$
    -- Reckoned in seconds: an interval that is doubled goes out of range after some thirty attempts, and the difference
    -- of two instants has a day part.
    select failed_at + interval '1 second' * least(
        extract(epoch from (p).retry_delay)::double precision
        * pg_catalog.power(2::double precision, least(attempt - 1, 60)::double precision),
        greatest(86400, extract(epoch from (p).retry_delay)),
        record_ledger.half_of_time_left(window_end_time, p, failed_at)
    )
$$;
comment on function record_ledger.retry_time(
    timestamptz, integer, timestamptz, record_ledger.pipeline
) is
'The end of the backoff after an attempt failed: retry_delay, doubled per attempt, at most a day or half of the time left.';
-- record_ledger.sees_tokens: may the caller see the claim tokens of records in progress?
-- Runners may, as whoever knows a token can end its claim; analysts, who only read, need none. Claims that have ended
-- are seen by all: their tokens end nothing any more.
-- Read by: pipeline_records, record_events, record_observations, records_as_of; the dbt models of rules.
-- Rules: is_ledger_owner. By current_user, which is the ledger's owner inside of its routines.
create or replace function record_ledger.sees_tokens()
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
    select case
        when to_regrole('record_ledger_runner') is null then false
        else pg_has_role(current_user, to_regrole('record_ledger_runner'), 'MEMBER')
    end
    or record_ledger.is_ledger_owner(current_user)
$$;
comment on function record_ledger.sees_tokens() is
'Whether the caller may see the claim tokens of records in progress: runners may, readers may not.';
-- record_ledger.shortened: a text of max_bytes at most, with a mark that says how much is left out.
-- What is told about a failure is never refused, however long it is: its beginning and its end are kept, because a
-- traceback says at its end what went wrong.
-- Read by: fail_record, attempt_ending, record_verdict.
-- Rules: none.
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
    -- In characters, each of four bytes at most; what fewer bytes leave over is given away.
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
-- record_ledger.start_instant: reads a config's start_at, an ISO 8601 text, as an instant.
-- Without offset it is local time, a bare date its first instant, and a time that clocks skip the end of the gap. Of a
-- time that comes twice it is the first one: those who take times from people refuse it (twofold_time). Null when the
-- text is no such time.
-- Read by: config_problems, read_config, is_same_config, note_start_at, start_problem, pipeline_time.
-- Rules: instant, wall_time, local_instant.
create or replace function record_ledger.start_instant(start_at text, timezone text)
returns timestamptz
language plpgsql
stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce(
        record_ledger.instant(start_at),
        record_ledger.local_instant(
            record_ledger.wall_time(start_at), start_instant.timezone
        )
    );
end
$$;
comment on function record_ledger.start_instant(text, text) is
'A config''s start_at as an instant; null when the text is no ISO 8601 time.';
-- record_ledger.start_problem: what is wrong with the start_at of a valid config; null when nothing is.
-- A pipeline without records would store all windows from there on, and nothing takes them back. One with records has
-- started already.
-- Read by: read_config.
-- Rules: start_instant, duration, last_window.
create or replace function record_ledger.start_problem(config jsonb, pipeline_id text)
returns text
language plpgsql
stable
as $$
declare
    v_granularity interval := record_ledger.duration(config ->> 'granularity');
    v_count numeric;
begin
    v_count := extract(
        epoch from record_ledger.clock()
            - record_ledger.start_instant(config ->> 'start_at', config ->> 'timezone')
    ) / extract(epoch from v_granularity);
    if v_count > 10000000
        and not exists (select from record_ledger.last_window(start_problem.pipeline_id))
    then
        return format(
            'start_at: %s means %s windows of %s until now; at most 10000000 are stored for a '
            'past, so give a later time or a longer granularity',
            config -> 'start_at', trunc(v_count), config -> 'granularity'
        );
    end if;
    return null;
end
$$;
comment on function record_ledger.start_problem(jsonb, text) is
'Private. What is wrong with the start_at of a valid config; null when nothing is.';
-- record_ledger.status_after: what an operation on a range makes of a record; null when it leaves the record alone.
--   waive   what is pending or failed needs no run any more
--   reopen  what is finished or failed is pending once more, unless its source data is gone
--   expire  a claim that is known to be dead ends as if its lease had run out: pending, or failed without attempts left
--           or when it was cancelled
--   cancel  a claim goes on until its run stops or its lease ends, and the record fails then
-- Read by: waive_range, reopen_range, expire_range, cancel_range, range_step, range_effects.
-- Rules: which records an operation changes is said here; check_record_change guards each change.
create or replace function record_ledger.status_after(
    operation text, status text, has_attempts_left boolean, is_cancelled boolean, is_lost boolean
)
returns text
language sql
immutable
as $$
    select case
        when operation = 'waive' and status in ('PENDING', 'FAILED') then 'WAIVED'
        when operation = 'reopen' and status in ('COMPLETED', 'FAILED', 'WAIVED')
            -- The next pass would waive it.
            and not is_lost then 'PENDING'
        when operation = 'expire' and status = 'IN_PROGRESS' and has_attempts_left
            and not is_cancelled then 'PENDING'
        when operation = 'expire' and status = 'IN_PROGRESS' then 'FAILED'
        when operation = 'cancel' and status = 'IN_PROGRESS' and not is_cancelled then status
    end
$$;
comment on function record_ledger.status_after(text, text, boolean, boolean, boolean) is
'Private. What waive, reopen, expire or cancel makes of a record of a status; null when it leaves the record alone.';
-- record_ledger.stretch_timezone: the time zone of the stretch of windows that an instant of a pipeline lies in.
-- Before the first stretch that of the first one; of a pipeline that has stored no window the one in force.
-- Read by: window_timezone, window_time, the runner for rows of windows that have no such column; pipeline_records
-- and archived_records have the look-up as a subquery, which costs a row a fraction of a call.
-- Rules: none.
create or replace function record_ledger.stretch_timezone(
    pipeline_id text, window_start_time timestamptz
)
returns text
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return coalesce(
        (
            select z.timezone
            from record_ledger.pipeline_zone as z
            where z.pipeline_id = stretch_timezone.pipeline_id
                and z.from_time <= stretch_timezone.window_start_time
            order by z.from_time desc
            limit 1
        ),
        (
            select z.timezone
            from record_ledger.pipeline_zone as z
            where z.pipeline_id = stretch_timezone.pipeline_id
            order by z.from_time
            limit 1
        ),
        (
            select p.timezone
            from record_ledger.pipeline as p
            where p.pipeline_id = stretch_timezone.pipeline_id
        )
    );
end
$$;
comment on function record_ledger.stretch_timezone(text, timestamptz) is
'The time zone of the stretch of windows that an instant of a pipeline lies in.';
-- record_ledger.stuck_heads: the oldest failed record of a pipeline, and the oldest of each lane of incomplete ones.
-- No row for an empty lane. What starts before from_time is passed over. Reads no other lane.
-- Read by: lane_heads, earliest_open, lost_before, deciding_record, stuck_window.
-- Rules: incomplete_lanes; lane says which lanes there are.
create or replace function record_ledger.stuck_heads(
    pipeline_id text, from_time timestamptz default null
)
returns table (lane text, window_start_time timestamptz)
language sql
stable
as $$
    select l.lane, head.window_start_time
    from (
        select 'failed' as lane
        union all
        select i.lane
        from record_ledger.incomplete_lanes(stuck_heads.pipeline_id) as i (lane)
    ) as l
    cross join lateral (
        select r.window_start_time
        from record_ledger.record as r
        where r.open_pipeline_id = stuck_heads.pipeline_id
            and r.lane = l.lane
            and r.window_start_time >= coalesce(stuck_heads.from_time, '-infinity')
        order by r.window_start_time
        limit 1
    ) as head
$$;
comment on function record_ledger.stuck_heads(text, timestamptz) is
'Private. The oldest failed record of a pipeline, and the oldest of each lane of incomplete ones.';
-- record_ledger.stuck_window: the oldest open record that no run will ever finish, from a window's start on.
-- Failed, or incomplete and not outdated, or outdated where default_record leaves check_fields empty, or a claim that
-- will come to that; null when there is none.
-- Read by: planned_passes.
-- Rules: stuck_heads.
create or replace function record_ledger.stuck_window(
    p record_ledger.pipeline,
    from_time timestamptz,
    stuck_claims timestamptz[],
    out window_start_time timestamptz,
    out window_end_time timestamptz
)
language plpgsql
stable
as $$
#variable_conflict use_column
begin
    select min(s.window_start_time) into stuck_window.window_start_time
    from (
        select h.window_start_time
        from record_ledger.stuck_heads(p.pipeline_id, stuck_window.from_time) as h
        where h.lane = 'failed'
            or p.missing_fields is not null
            or h.lane >= 'incomplete' || lpad(p.fields_version::text, 10, '0')
        union all
        (
            select o.window_start_time
            from record_ledger.record as o
            where p.missing_fields is not null
                and o.open_pipeline_id = p.pipeline_id
                and o.lane in ('historical', 'retry', 'retryh', 'returned', 'waiting')
                and o.window_start_time >= coalesce(stuck_window.from_time, '-infinity')
                and coalesce(o.config_version < p.fields_version, true)
            order by o.window_start_time
            limit 1
        )
        union all
        select c.window_start_time
        from unnest(stuck_window.stuck_claims) as c (window_start_time)
        where c.window_start_time >= coalesce(stuck_window.from_time, '-infinity')
    ) as s;
    select r.window_end_time into stuck_window.window_end_time
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id and r.window_start_time = stuck_window.window_start_time;
end
$$;
comment on function record_ledger.stuck_window(
    record_ledger.pipeline, timestamptz, timestamptz[]
) is
'Private. The oldest open record, from an instant on, that no run will ever finish.';
-- record_ledger.time_interval: a window's actual length as text: '2h', '1h30m', '25h'.
-- Hours are the largest unit, because a local day has 23, 24 or 25 of them.
-- Read by: record_json, new_windows, windows_to_build, pipeline_records, oldest_valid_record,
-- archived_records, plan_runs.
-- Rules: none. Types are exact and names qualified (README.md, Names).
create or replace function record_ledger.time_interval(
    window_start_time timestamptz, window_end_time timestamptz
)
returns text
language plpgsql
immutable strict
as $$
declare
    -- Computed as integers: many times cheaper than the parts of an interval, which are numeric.
    v_length constant double precision := pg_catalog.date_part(
        'epoch'::text, window_end_time - window_start_time
    );
    v_seconds constant bigint := pg_catalog.trunc(v_length)::bigint;
begin
    if v_seconds % 3600::bigint = 0::bigint and v_seconds::double precision = v_length then
        return (v_seconds / 3600::bigint)::text || 'h';
    elsif v_seconds::double precision = v_length then
        return pg_catalog.concat(
            nullif(v_seconds / 3600::bigint, 0::bigint)::text || 'h',
            nullif(v_seconds % 3600::bigint / 60::bigint, 0::bigint)::text || 'm',
            nullif(v_seconds % 60::bigint, 0::bigint)::text || 's'
        );
    end if;
    return pg_catalog.concat(
        nullif(v_seconds / 3600::bigint, 0::bigint)::text || 'h',
        nullif(v_seconds % 3600::bigint / 60::bigint, 0::bigint)::text || 'm',
        nullif(
            trim_scale(extract(second from window_end_time - window_start_time)), 0::numeric
        )::text || 's'
    );
end
$$;
comment on function record_ledger.time_interval(timestamptz, timestamptz) is
'A window''s actual length, hours the largest unit: 2h, 1h30m, 25h.';
-- record_ledger.to_build_reason: the sentence of an answer that asks for windows to be rendered.
-- For callers that are no runner: it says what to do.
-- Read by: register_store_and_pass, pass_valid_records.
-- Rules: none.
create or replace function record_ledger.to_build_reason(to_build jsonb)
returns text
language sql
immutable
as $$
    select format(
        '%s windows wait to be built: render default_record for each and call again with built',
        jsonb_array_length(to_build)
    )
$$;
comment on function record_ledger.to_build_reason(jsonb) is
'Private. The sentence of an answer that asks for windows to be rendered.';
-- record_ledger.twofold_time: a sentence about a text whose local time comes twice in a zone; null for any other text.
-- Clocks that are set back show an hour again: such a text is no instant. A bare date is: it is its first one.
-- Read by: pipeline_time, config_problems.
-- Rules: wall_time, local_instants, local_time.
create or replace function record_ledger.twofold_time(time_text text, timezone text)
returns text
language plpgsql
stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    v_instants timestamptz[];
begin
    if length(time_text) > length('2026-01-01') then
        v_instants := record_ledger.local_instants(
            record_ledger.wall_time(time_text), twofold_time.timezone
        );
    end if;
    if cardinality(v_instants) > 1 then
        return format(
            '"%s" comes twice in %s: as %s and %s',
            time_text,
            twofold_time.timezone,
            record_ledger.local_time(v_instants[1], twofold_time.timezone),
            record_ledger.local_time(v_instants[2], twofold_time.timezone)
        );
    end if;
    return null;
end
$$;
comment on function record_ledger.twofold_time(text, text) is
'Why a local time names two instants of a zone, both with their offsets; null when it does not.';
-- record_ledger.unbuilt_reason: why the next record of a pipeline with templates cannot be passed without its config.
-- Its templates are rendered by the runner: SQL alone cannot build it.
-- Read by: pass_record, pass_valid_record.
-- Rules: local_time.
create or replace function record_ledger.unbuilt_reason(
    p record_ledger.pipeline, window_start_time timestamptz
)
returns text
language sql
stable
as $$
    select format(
        'window %s %s; the next run with its config builds it',
        record_ledger.local_time(r.window_start_time, (p).timezone),
        case
            when r.config_version is null then 'is not built yet'
            else 'was built with an older config'
        end
    )
    from record_ledger.record as r
    where r.pipeline_id = (p).pipeline_id
        and r.window_start_time = unbuilt_reason.window_start_time
$$;
comment on function record_ledger.unbuilt_reason(record_ledger.pipeline, timestamptz) is
'Private. Why the next record of a pipeline with templates cannot be passed without its config.';
-- record_ledger.unstable_reason: the sentence for a window whose data has not settled, in the time zone in force.
-- The caller has set it to that of the window. PostgreSQL takes this expression into the one around it.
-- Read by: record_verdict, store_new_and_pass_valid_record.
-- Rules: iso_time. Names are qualified (README.md, Names).
create or replace function record_ledger.unstable_reason(
    window_start_time timestamptz,
    window_end_time timestamptz,
    x_time_back interval,
    -- As the config says it.
    x_time_back_text text
)
returns text
language sql
stable
as $$
    -- Instants as iso_time writes them; one function takes all their quotation marks away.
    select pg_catalog.replace(
        pg_catalog.concat(
            'window ', pg_catalog.to_json(window_start_time),
            ' ends at ', pg_catalog.to_json(window_end_time),
            '; its data has settled ', x_time_back_text,
            ' later, at ', pg_catalog.to_json(window_end_time + x_time_back)
        ),
        '"',
        ''
    )
$$;
comment on function record_ledger.unstable_reason(
    timestamptz, timestamptz, interval, text
) is
'Private. The sentence for a window whose data has not settled.';
-- record_ledger.waiting_for_retry: the records of a pipeline that wait, or waited, for an instant before a next run.
-- As far as they matter to its next runs: the oldest ones and those whose wait ends first, as oldest_due has it.
-- Read by: planned_passes.
-- Rules: oldest_due reads fifty of each.
create or replace function record_ledger.waiting_for_retry(
    p record_ledger.pipeline,
    runs integer
)
returns table (window_start_time timestamptz, retry_at timestamptz)
language sql
stable
as $$
    select w.window_start_time, least(w.retry_at, w.window_end_time + (p).source_retention)
    from (values ('retry'), ('retryh')) as l (lane)
    cross join lateral (
        (
            select o.window_start_time, o.window_end_time, o.retry_at
            from record_ledger.record as o
            where o.open_pipeline_id = (p).pipeline_id and o.lane = l.lane
                and (
                    (p).missing_fields is null
                    or o.window_start_time >= coalesce((p).filled_from, 'infinity')
                    and o.config_version >= (p).fields_version
                )
            order by o.window_start_time
            limit runs + 50
        )
        union
        (
            select e.window_start_time, e.window_end_time, e.retry_at
            from record_ledger.record as e
            where e.open_pipeline_id = (p).pipeline_id and e.lane = l.lane
                and e.lease_expires_at is null
                and (
                    (p).missing_fields is null
                    or e.window_start_time >= coalesce((p).filled_from, 'infinity')
                    and e.config_version >= (p).fields_version
                )
                and e.retry_at is not null
            order by e.lease_expires_at, e.retry_at
            limit runs + 50
        )
    ) as w
$$;
comment on function record_ledger.waiting_for_retry(record_ledger.pipeline, integer) is
'Private. The records that wait for an instant before their next run, as far as they matter to a pipeline''s next runs.';
-- record_ledger.wall_time: the local time that an ISO 8601 text without an offset states.
-- A bare date is its midnight, whether clocks show that or not. Null when the text has an offset, is no such time, or
-- is not of the years 1900 to 9000.
-- Read by: start_instant, twofold_time, window_time.
-- Rules: none.
create or replace function record_ledger.wall_time(time_text text)
returns timestamp
language plpgsql
stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    if time_text
        ~ (
            '^((19|[2-8][0-9])[0-9]{2}|9000)-[0-9]{2}-[0-9]{2}'
            '([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?)?$'
        )
    then
        return time_text::timestamp;
    end if;
    return null;
exception
    when datetime_field_overflow or invalid_datetime_format
        then
        return null;
end
$$;
comment on function record_ledger.wall_time(text) is
'The local time that an ISO 8601 text without an offset states; null when it is none.';
-- record_ledger.warn_of_misspelt_keys: raises a warning for each ignored key that looks like a misspelt one.
-- 'chek_fields' would otherwise be ignored in silence, and incomplete records passed. Looks at the first 100 of them.
-- Read by: register_store_and_pass, register_pipeline.
-- Rules: config_keys, near_names.
create or replace function record_ledger.warn_of_misspelt_keys(config jsonb)
returns void
language plpgsql
stable
as $$
declare
    v_key text;
    v_near text[];
begin
    for v_key in
        select key
        from jsonb_object_keys(
            case jsonb_typeof(config) when 'object' then config else '{}' end
        ) as key
        where key <> all (record_ledger.config_keys())
        order by key
        -- To look for near names takes a millisecond, and a config may have thousands of keys of others.
        limit 100
    loop
        v_near := record_ledger.near_names(v_key, record_ledger.config_keys());
        if cardinality(v_near) > 0 then
            raise warning 'config key "%" is ignored; did you mean "%"?', v_key, v_near[1];
        end if;
    end loop;
end
$$;
comment on function record_ledger.warn_of_misspelt_keys(jsonb) is
'Raises a warning for each ignored key that looks like a misspelt one.';
-- record_ledger.window_timezone: the time zone that a stored window of a pipeline was cut with.
-- Mostly the one in force, which the pipeline's row says; PostgreSQL takes this expression into the one around it. A
-- window that is not stored yet is cut with p.timezone.
-- Read by: whatever shows a window to people: pass_record, windows_to_build, record_verdict, next_answer, plan_runs,
-- the views that have a column window_timezone.
-- Rules: stretch_timezone. Types are exact and names qualified (README.md, Names).
create or replace function record_ledger.window_timezone(
    p record_ledger.pipeline, window_start_time timestamptz
)
returns text
language sql
stable
as $$
    select case
        when window_start_time >= (p).zone_since then (p).timezone
        else record_ledger.stretch_timezone((p).pipeline_id, window_start_time)
    end
$$;
comment on function record_ledger.window_timezone(record_ledger.pipeline, timestamptz) is
'The time zone that a stored window of a pipeline was cut with.';
-- record_ledger.windows_from: the windows that tile time from an instant on.
-- Those that begin before to_time, the first max_windows of them (null: all), in any order. Reads no ledger rows.
-- Read by: due_windows, backfill_windows, backfill_range.
-- Rules: day_start, local_day; next_window says the same of one window.
create or replace function record_ledger.windows_from(
    from_time timestamptz,
    to_time timestamptz,
    granularity interval,
    timezone text,
    max_windows integer
)
returns table (target_day date, window_start_time timestamptz, window_end_time timestamptz)
language sql
immutable
as $$
    -- Materialized, so that day_start is computed once per day and not once per window.
    with span as materialized (
        select
            d.target_day,
            greatest(d.day_start, from_time) as span_start,
            lead(d.day_start) over (order by d.target_day) as span_end,
            -- No day is as long: a window of a day is all of it.
            case
                when granularity >= interval '24:00:00' then interval '48:00:00' else granularity
            end as window_length
        from (
            select
                day.target_day,
                record_ledger.day_start(day.target_day, windows_from.timezone) as day_start
            from (
                select record_ledger.local_day(from_time, windows_from.timezone) + n as target_day
                from generate_series(
                    0,
                    least(
                        record_ledger.local_day(to_time, windows_from.timezone)
                        - record_ledger.local_day(from_time, windows_from.timezone) + 2,
                        -- No more days than max_windows can need: half a day's worth of windows in each.
                        ceil(
                            max_windows
                            / greatest(1, floor(43200 / extract(epoch from granularity)))
                        ) + 3
                    )::integer
                ) as n
            ) as day
        ) as d
    ),

    -- Counted per day, so that no window is made that max_windows leaves out, and none has to be sorted for that.
    counted as (
        select
            s.target_day,
            s.span_start,
            s.span_end,
            s.window_length,
            least(s.span_end, to_time) as last_start_before,
            coalesce(
                sum(
                    ceil(
                        extract(epoch from least(s.span_end, to_time) - s.span_start)
                        / extract(epoch from s.window_length)
                    )
                ) over (order by s.target_day rows between unbounded preceding and 1 preceding),
                0
            )::integer as windows_before
        from span as s
        -- A skipped date has no instant, and the last day only closes the one before it.
        where s.span_end > s.span_start and s.span_start < to_time
    )

    select
        w.target_day,
        w.window_start_time,
        least(w.window_start_time + w.window_length, w.span_end) as window_end_time
    from (
        select
            c.target_day,
            c.span_end,
            c.window_length,
            generate_series(
                c.span_start,
                least(
                    c.last_start_before,
                    c.span_start + (max_windows - c.windows_before) * c.window_length
                ) - interval '1 microsecond',
                c.window_length
            ) as window_start_time
        from counted as c
        where max_windows is null or c.windows_before < max_windows
    ) as w
$$;
comment on function record_ledger.windows_from(
    timestamptz, timestamptz, interval, text, integer
) is
'Private. The windows that tile time from an instant on and begin before another.';
-- record_ledger.adopt_observations: takes over what earlier claims of the same generation counted, as this claim's own.
-- Of each stage, or of the given one, that this claim has not counted itself. The caller answers for it: a later claim
-- adopts the count of a source that it did not read anew, and not that of a target which it loads again.
-- Called by: runs, with their current claim token, and that of the window when one is named (RL004 else). Returns how
-- many; repeating it adds nothing.
-- Rules: adoptable_observations, check_stage, lock_record, observation_time.
create or replace function record_ledger.adopt_observations(
    pipeline_id text,
    claim_token bigint,
    stage text default null,
    window_start_time timestamptz default null
)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    v_window timestamptz;
    r record_ledger.record;
    v_adopted integer;
begin
    if adopt_observations.stage is not null then
        perform record_ledger.check_stage(adopt_observations.stage);
    end if;
    select c.window_start_time into v_window
    from record_ledger.claim as c
    where c.pipeline_id = adopt_observations.pipeline_id
        and c.claim_token = adopt_observations.claim_token;
    if not found or v_window <> adopt_observations.window_start_time then
        perform record_ledger.raise_claim_lost(
            adopt_observations.pipeline_id,
            adopt_observations.claim_token,
            adopt_observations.window_start_time
        );
    end if;
    r := record_ledger.lock_record(
        adopt_observations.pipeline_id, v_window, adopt_observations.claim_token
    );
    insert into record_ledger.record_observation (
        pipeline_id,
        window_start_time,
        observation_no,
        observed_at,
        stage,
        row_count,
        detail,
        generation,
        claim_token,
        run_id,
        adopted_no
    )
    select
        a.pipeline_id,
        a.window_start_time,
        row_number() over (order by a.observation_no) + (
            select max(o.observation_no)
            from record_ledger.record_observation as o
            where o.pipeline_id = r.pipeline_id and o.window_start_time = r.window_start_time
        ),
        record_ledger.observation_time(r),
        a.stage,
        a.row_count,
        a.detail,
        r.generation,
        r.claim_token,
        r.run_id,
        coalesce(a.adopted_no, a.observation_no)
    from record_ledger.adoptable_observations(
        r.pipeline_id, r.window_start_time, r.claim_token
    ) as a
    where a.stage = coalesce(adopt_observations.stage, a.stage);
    get diagnostics v_adopted = row_count;
    return v_adopted;
end
$$;
comment on function record_ledger.adopt_observations(text, bigint, text, timestamptz) is
'Takes over what earlier claims of the same generation counted, as evidence of the current claim (RL004 else); returns how many.';
-- record_ledger.append_pipeline_event: notes what happened to a pipeline as a whole, with who did it and when.
-- Numbered per pipeline, so its row must be locked.
-- Called by: register_config, backfill_range, pause_pipeline, resume_pipeline, retire_pipeline.
-- Rules: none.
create or replace function record_ledger.append_pipeline_event(
    pipeline_id text, event text, detail jsonb, event_time timestamptz
)
returns void
language plpgsql
as $$
#variable_conflict use_column
begin
    insert into record_ledger.pipeline_event (pipeline_id, event_no, event_time, event, detail)
    select
        append_pipeline_event.pipeline_id,
        coalesce(max(e.event_no), 0) + 1,
        append_pipeline_event.event_time,
        append_pipeline_event.event,
        append_pipeline_event.detail
    from record_ledger.pipeline_event as e
    where e.pipeline_id = append_pipeline_event.pipeline_id;
end
$$;
comment on function record_ledger.append_pipeline_event(text, text, jsonb, timestamptz) is
'Private. Notes what happened to a pipeline as a whole, with who did it and when.';
-- record_ledger.archivable_records: which records archive_records would move, and why it would stop there; reads only.
-- The oldest ones in an unbroken row: up to the first open record, none that ends after before, never the newest one.
-- Called by: archive_records, the dry run of the runner, analysts.
-- Rules: archive_end, lane_heads, last_window.
create or replace function record_ledger.archivable_records(
    pipeline_id text,
    before timestamptz,
    max_records integer default null,
    out record_count integer,
    out first_window_start_time timestamptz,
    out last_window_start_time timestamptz,
    -- Null, like the two starts, when nothing would be moved.
    out archived_until timestamptz,
    -- Null when only max_records stops it.
    out reason text
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
-- Whatever the tables' statistics say: each look-up below is a walk through an index.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
    v_timezone text;
    v_newest timestamptz;
    v_stop timestamptz;
    r record_ledger.record;
begin
    select p.timezone into v_timezone
    from record_ledger.pipeline as p
    where p.pipeline_id = archivable_records.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(archivable_records.pipeline_id);
    end if;
    if before is null or not isfinite(before) then
        raise exception 'before: % is no instant; give the time up to which records go',
            coalesce(before::text, 'null')
            using errcode = 'RL005';
    end if;
    if max_records < 1 then
        raise exception 'max_records: % is less than 1; give how many records may be moved',
            max_records
            using errcode = 'RL005';
    end if;

    record_count := 0;
    -- Where the archive ends: what an old snapshot still sees of records that went there is not stepped over.
    first_window_start_time := record_ledger.archive_end(archivable_records.pipeline_id);
    if first_window_start_time is null then
        select f.window_start_time into first_window_start_time
        from record_ledger.record as f
        where f.pipeline_id = archivable_records.pipeline_id
        order by f.window_start_time
        limit 1;
    end if;
    select l.window_start_time into v_newest
    from record_ledger.last_window(archivable_records.pipeline_id) as l;
    if v_newest is null then
        reason := 'no window is stored';
        return;
    end if;
    select least(min(h.window_start_time), v_newest, before) into v_stop
    from record_ledger.lane_heads(archivable_records.pipeline_id) as h;
    -- Newest first: the one that holds before, if there is one, is all that is stepped over.
    select w.window_start_time into last_window_start_time
    from record_ledger.record as w
    where w.pipeline_id = archivable_records.pipeline_id
        and w.window_start_time >= first_window_start_time and w.window_start_time < v_stop
        and w.window_end_time <= before
    order by w.window_start_time desc
    limit 1;
    if last_window_start_time is not null then
        select count(*), max(w.window_start_time) into record_count, last_window_start_time
        from (
            select n.window_start_time
            from record_ledger.record as n
            where n.pipeline_id = archivable_records.pipeline_id
                and n.window_start_time >= first_window_start_time
                and n.window_start_time <= last_window_start_time
            order by n.window_start_time
            limit max_records
        ) as w;
        select w.window_end_time into archived_until
        from record_ledger.record as w
        where w.pipeline_id = archivable_records.pipeline_id
            and w.window_start_time = last_window_start_time;
    end if;

    -- The first record that stays says why.
    select s.* into r
    from record_ledger.record as s
    where s.pipeline_id = archivable_records.pipeline_id
        and s.window_start_time = coalesce(archived_until, first_window_start_time);
    -- Without a reason of its own only max_records keeps it.
    reason := 'window '
        || record_ledger.local_time(
            r.window_start_time,
            record_ledger.stretch_timezone(r.pipeline_id, r.window_start_time)
        )
        || ' stays: '
        || case
            when r.window_end_time > before
                then 'it ends after ' || record_ledger.local_time(before, v_timezone)
            when r.open_pipeline_id is not null then 'it is ' || r.status
            when r.window_start_time = v_newest then 'it is the newest one of the pipeline'
        end;
    if record_count = 0 then
        first_window_start_time := null;
    end if;
end
$$;
comment on function record_ledger.archivable_records(text, timestamptz, integer) is
'What archive_records would move: how many records, their bounds, and the sentence why the next one stays. Reads only.';
-- record_ledger.archive_records: moves a pipeline's oldest finished records, with all that is told of them, away.
-- Those whose window ends at or before an instant, oldest first, up to the first open record; the newest one stays, and
-- so does every claim: a run keeps its record and a token its window. Returns how many; call it until that is 0.
-- Called by: `record-ledger archive`, psql. Rules: archivable_records; check_record_archived guards the deletes.
create or replace function record_ledger.archive_records(
    pipeline_id text, before timestamptz, max_records integer default 100000
)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    -- Against another archiver, and against whoever adds windows before the first one or reopens what is to go.
    p record_ledger.pipeline := record_ledger.lock_pipeline(pipeline_id);
    v_now timestamptz := record_ledger.clock();
    v_part record;
begin
    if max_records is null then
        raise exception 'max_records: null is no number; give how many records may be moved'
            using errcode = 'RL005';
    end if;
    v_part := record_ledger.archivable_records(p.pipeline_id, before, max_records);
    if v_part.record_count = 0 then
        return 0;
    end if;
    perform record_ledger.create_archive_partitions(
        v_part.first_window_start_time, v_part.last_window_start_time
    );
    insert into record_ledger.archived_record (
        window_start_time,
        window_end_time,
        created_at,
        updated_at,
        archived_at,
        claim_token,
        target_day,
        generation,
        attempt,
        config_version,
        event_count,
        is_historical,
        pipeline_id,
        status,
        run_id,
        fields,
        missing_fields,
        last_event,
        last_detail,
        counts_waived
    )
    select
        r.window_start_time,
        r.window_end_time,
        r.created_at,
        r.updated_at,
        v_now,
        r.claim_token,
        r.target_day,
        r.generation,
        r.attempt,
        r.config_version,
        r.event_count,
        r.is_historical,
        r.pipeline_id,
        r.status,
        r.run_id,
        r.fields,
        r.missing_fields,
        r.last_event,
        r.last_detail,
        r.counts_waived
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id
        and r.window_start_time >= v_part.first_window_start_time
        and r.window_start_time <= v_part.last_window_start_time
    order by r.window_start_time;
    insert into record_ledger.archived_record_event (
        window_start_time,
        event_time,
        claim_token,
        event_no,
        generation,
        attempt,
        pipeline_id,
        event,
        from_status,
        to_status,
        run_id,
        actor,
        detail
    )
    select
        e.window_start_time,
        e.event_time,
        e.claim_token,
        e.event_no,
        e.generation,
        e.attempt,
        e.pipeline_id,
        e.event,
        e.from_status,
        e.to_status,
        e.run_id,
        e.actor,
        e.detail
    from record_ledger.record_event as e
    where e.pipeline_id = p.pipeline_id
        and e.window_start_time >= v_part.first_window_start_time
        and e.window_start_time <= v_part.last_window_start_time
    order by e.window_start_time, e.event_no;

    -- The triggers compare what goes with what is in the archive: a row that somebody changed or added meanwhile is
    -- refused, and all of it is undone.
    delete from record_ledger.record_event as e
    where e.pipeline_id = p.pipeline_id
        and e.window_start_time >= v_part.first_window_start_time
        and e.window_start_time <= v_part.last_window_start_time;
    -- A run may be ending its claim on the first record that stays; the next statement is not to wait within itself.
    perform
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id and r.window_start_time = v_part.archived_until
    for no key update;
    -- In one statement: a record that follows another cannot lose it before, and the chain has one beginning.
    with gone as (
        delete from record_ledger.record as r
        where r.pipeline_id = p.pipeline_id
            and r.window_start_time >= v_part.first_window_start_time
            and r.window_start_time <= v_part.last_window_start_time
        returning r.window_start_time
    )
    update record_ledger.record as r
    set previous_window_start_time = null
    from (select max(g.window_start_time) as window_start_time from gone as g) as last
    where r.pipeline_id = p.pipeline_id
        and r.window_start_time = v_part.archived_until
        and r.previous_window_start_time = last.window_start_time;
    -- Whoever was counting one of them has committed by now, and the next one finds no record: none is left behind.
    insert into record_ledger.archived_record_observation
    select o.*
    from record_ledger.record_observation as o
    where o.pipeline_id = p.pipeline_id
        and o.window_start_time >= v_part.first_window_start_time
        and o.window_start_time <= v_part.last_window_start_time
    order by o.window_start_time, o.observation_no;
    delete from record_ledger.record_observation as o
    where o.pipeline_id = p.pipeline_id
        and o.window_start_time >= v_part.first_window_start_time
        and o.window_start_time <= v_part.last_window_start_time;

    perform record_ledger.append_pipeline_event(
        p.pipeline_id,
        'archived',
        jsonb_build_object(
            'count', v_part.record_count,
            'until', record_ledger.local_time(v_part.archived_until, p.timezone),
            'before', record_ledger.local_time(before, p.timezone)
        ),
        v_now
    );
    return v_part.record_count;
end
$$;
comment on function record_ledger.archive_records(text, timestamptz, integer) is
'Moves the oldest finished records whose window ends at or before an instant to the archive, with their events and observations; returns how many.';
-- record_ledger.backfill_range: adds records before the first one of a locked pipeline; returns how many.
-- Back to the local day of from_time. With max_records only the newest of them, as many and 10,000 at most: whole days,
-- or a part of one that has more. first_start says where the first record starts then. All are historical; those of a
-- pipeline with templates are stored unbuilt.
-- Called by: backfill_records, range_step, with what check_backfill has let pass.
-- Rules: backfill_start, windows_from, lane, void_marks, begin_stretch.
create or replace function record_ledger.backfill_range(
    p record_ledger.pipeline,
    from_time timestamptz,
    reason text,
    max_records integer,
    as_of timestamptz,
    inout first_start timestamptz,
    out added_count integer
)
language plpgsql
as $$
#variable_conflict use_column
declare
    -- Enough to make the work around a statement count for nothing, few enough for the checks of its links, which
    -- wait for its end, to find the rows still at hand.
    v_part constant integer := least(backfill_range.max_records, 10000);
    v_to_time constant timestamptz := backfill_range.first_start;
    v_fields jsonb := case when p.has_templates then '{}' else p.fields end;
    v_config_version integer := case when not p.has_templates then p.config_version end;
    v_missing text[] := case when not p.has_templates then p.missing_fields end;
    v_lane text := record_ledger.lane('PENDING', v_missing, v_config_version, false, true, null);
    v_start timestamptz;
    v_count integer;
begin
    added_count := 0;
    -- The newest first: so the history has no gap after each of the parts.
    loop
        v_start := record_ledger.backfill_start(
            p, backfill_range.from_time, backfill_range.first_start, v_part
        );
        with added as materialized (
            select
                w.target_day,
                w.window_start_time,
                least(w.window_end_time, backfill_range.first_start) as window_end_time,
                lag(w.window_start_time) over (order by w.window_start_time)
                    as previous_window_start_time
            from record_ledger.windows_from(
                v_start, backfill_range.first_start, p.granularity, p.timezone, null
            ) as w
        ),

        relinked as (
            update record_ledger.record as r
            set previous_window_start_time = (select max(a.window_start_time) from added as a)
            where r.pipeline_id = p.pipeline_id
                and r.window_start_time = backfill_range.first_start
            returning r.window_start_time
        )

        insert into record_ledger.record (
            pipeline_id,
            window_start_time,
            window_end_time,
            previous_window_start_time,
            target_day,
            fields,
            config_version,
            missing_fields,
            is_historical,
            lane,
            open_pipeline_id,
            created_at,
            updated_at
        )
        select
            p.pipeline_id,
            a.window_start_time,
            a.window_end_time,
            a.previous_window_start_time,
            a.target_day,
            v_fields,
            v_config_version,
            v_missing,
            true,
            v_lane,
            p.pipeline_id,
            as_of,
            as_of
        from added as a
        -- Counted first: a pipeline has one first record at any moment, so the old one is linked before a new one is
        -- there.
        where (select count(*) from relinked) = 1
        order by a.window_start_time;
        get diagnostics v_count = row_count;
        added_count := added_count + v_count;
        first_start := v_start;
        exit when backfill_range.max_records is not null
            or v_start <= record_ledger.day_start(
                record_ledger.local_day(backfill_range.from_time, p.timezone), p.timezone
            );
    end loop;
    perform record_ledger.void_marks(p.pipeline_id);
    perform record_ledger.begin_stretch(p, v_start);
    perform record_ledger.append_pipeline_event(
        p.pipeline_id,
        'backfilled',
        jsonb_strip_nulls(
            jsonb_build_object(
                'from_time', record_ledger.local_time(v_start, p.timezone),
                'to_time', record_ledger.local_time(v_to_time, p.timezone),
                'record_count', added_count,
                'reason', backfill_range.reason
            )
        ),
        as_of
    );
end
$$;
comment on function record_ledger.backfill_range(
    record_ledger.pipeline, timestamptz, text, integer, timestamptz, timestamptz
) is
'Private. Adds records before the first one of a locked pipeline, the newest first; returns how many, and where the first one starts then.';
-- record_ledger.backfill_records: adds records before a pipeline's first one, back to the local day of from_time.
-- All of them in one call; returns how many, 0 when the first one starts at from_time or before it. They are
-- historical; those of a pipeline with templates are stored unbuilt, and the pass of each builds it.
-- Called by: operators, through the runner's command backfill, the dbt macro of the same name, or psql.
-- Rules: check_backfill, backfill_range.
create or replace function record_ledger.backfill_records(
    pipeline_id text, from_time timestamptz, reason text default null
)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    -- A pass or another backfill could otherwise store what this one is about to.
    p record_ledger.pipeline := record_ledger.lock_pipeline(backfill_records.pipeline_id);
    v_first_start timestamptz := record_ledger.check_backfill(p, backfill_records.from_time);
    v_count integer := 0;
begin
    perform record_ledger.check_reason(backfill_records.reason, true);
    if v_first_start > backfill_records.from_time then
        select b.added_count into v_count
        from record_ledger.backfill_range(
            p,
            backfill_records.from_time,
            backfill_records.reason,
            null,
            record_ledger.clock(),
            v_first_start
        ) as b;
    end if;
    return v_count;
end
$$;
comment on function record_ledger.backfill_records(text, timestamptz, text) is
'Adds records before a pipeline''s first one, back to the local day of an instant; returns how many.';
-- record_ledger.batch_to_build: what a runner must render before a whole batch can be passed.
-- Of a batch that was drawn before, those of its records that are outdated and could be passed again; else the due
-- windows, and the outdated ones among the next record_limit of each kind.
-- Called by: pass_valid_records, in place of what its first pass alone would ask for.
-- Rules: is_same_config, configured, next_answer, windows_to_build.
create or replace function record_ledger.batch_to_build(
    config jsonb, run_id text, record_limit integer
)
returns jsonb
language plpgsql
stable
as $$
#variable_conflict use_variable
declare
    v_now timestamptz := record_ledger.clock();
    v_windows jsonb := '[]';
    v_answer record;
    v_is_bound boolean := false;
    p record_ledger.pipeline;
begin
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = coalesce(
        config ->> 'pipeline_id', config #>> '{default_record,pipeline_id}'
    );
    if not record_ledger.is_same_config(p, config) then
        p := record_ledger.configured(p, config);
    end if;
    for k in 1..record_limit loop
        v_answer := record_ledger.next_answer(p, run_id || '/' || k, v_now);
        exit when v_answer.bound_window is null;
        v_is_bound := true;
        if v_answer.is_outdated then
            v_windows := v_windows || record_ledger.windows_to_build(
                p, v_answer.window_start_time, true, null, 1, v_now
            );
        end if;
    end loop;
    if v_is_bound then
        return v_windows;
    end if;
    return record_ledger.windows_to_build(
        p,
        -- The first may be current, and others that the batch comes to may not be.
        case when v_answer.verdict = 'READY' then v_answer.window_start_time end,
        false,
        v_answer.waiting_mark,
        record_limit,
        v_now
    );
end
$$;
comment on function record_ledger.batch_to_build(jsonb, text, integer) is
'Private. The windows whose templates the caller must render before a whole batch can be passed.';
-- record_ledger.begin_stretch: notes that windows from an instant on were cut with the zone in force.
-- Up to where the next stretch begins, if there is one. Two stretches of one zone beside each other are one.
-- Called by: store_windows, for the first window that a zone has cut; backfill_range. Both hold the pipeline's lock.
-- Rules: none.
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
    -- What began here before is cut anew.
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
    -- A backfill in another zone leaves the newest windows those of an older one.
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
'Private. Notes that the windows from an instant on were cut with the zone in force.';
-- record_ledger.build_record: gives an outdated record the fields of the config in force; returns what it then lacks.
-- It stays in its lane, so that a record that waits in order goes on doing so. An event only when a field differs, with
-- what was there before of those that do: fields_before holds their values, fields_added the names of new ones.
-- Called by: pass_record, build_records. Rules: missing_fields; check_record_change guards the change.
create or replace function record_ledger.build_record(
    p record_ledger.pipeline,
    window_start_time timestamptz,
    fields jsonb,
    as_of timestamptz,
    out missing_fields text[],
    -- False when only the version that it was built with is another one now.
    out is_event boolean,
    out config_version_before integer
)
language plpgsql
as $$
#variable_conflict use_column
declare
    v_before jsonb;
begin
    missing_fields := record_ledger.missing_fields(build_record.fields, p.check_fields);
    select r.fields, r.config_version into v_before, config_version_before
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id
        and r.window_start_time = build_record.window_start_time;
    is_event := v_before <> build_record.fields;
    if not is_event then
        update record_ledger.record as r
        set config_version = p.config_version,
            missing_fields = build_record.missing_fields
        where r.pipeline_id = p.pipeline_id
            and r.window_start_time = build_record.window_start_time;
    else
        update record_ledger.record as r
        set fields = build_record.fields,
            config_version = p.config_version,
            missing_fields = build_record.missing_fields,
            last_event = 'rebuilt',
            last_detail = jsonb_build_object(
                'config_version', p.config_version,
                'config_version_before', config_version_before,
                'fields_before', (
                    select coalesce(jsonb_object_agg(o.key, o.value), '{}')
                    from jsonb_each(v_before) as o
                    where (build_record.fields -> o.key) is distinct from o.value
                ),
                'fields_added', (
                    select coalesce(jsonb_agg(n.key order by n.key), '[]')
                    from jsonb_object_keys(build_record.fields) as n (key)
                    where (v_before -> n.key) is null
                )
            ),
            updated_at = as_of
        where r.pipeline_id = p.pipeline_id
            and r.window_start_time = build_record.window_start_time;
    end if;
    if p.missing_fields is not null and missing_fields is null then
        perform record_ledger.note_filled(p, build_record.window_start_time);
    end if;
end
$$;
comment on function record_ledger.build_record(
    record_ledger.pipeline, timestamptz, jsonb, timestamptz
) is
'Private. Gives an outdated record the fields of the config in force; returns which check_fields it then lacks.';
-- record_ledger.build_records: builds outdated pending records from what a caller rendered with the config in force.
-- One that is current stays as it is: it is built once for each change of the fields, even when something is missing
-- then. What is in progress, failed or finished is left alone.
-- Called by: store_new_records.
-- Rules: built_windows, build_record.
create or replace function record_ledger.build_records(
    p record_ledger.pipeline, built jsonb, as_of timestamptz
)
returns void
language plpgsql
as $$
declare
    v_window record;
begin
    for v_window in
        select r.window_start_time, b.fields
        from record_ledger.built_windows(built, p) as b
        join record_ledger.record as r
            on r.pipeline_id = p.pipeline_id
            and r.window_start_time = b.window_start_time
            and r.window_end_time = b.window_end_time
        where r.status = 'PENDING' and coalesce(r.config_version < p.fields_version, true)
        order by r.window_start_time
    loop
        perform record_ledger.build_record(p, v_window.window_start_time, v_window.fields, as_of);
    end loop;
end
$$;
comment on function record_ledger.build_records(record_ledger.pipeline, jsonb, timestamptz) is
'Private. Builds outdated pending records from what a caller rendered with the config in force.';
-- record_ledger.cancel_range: cancels the claims on records of a locked pipeline; returns how many.
-- Those of a range, whose whole window lies in it, that status_after lets be changed; others are left alone.
-- Called by: change_range.
-- Rules: status_after, is_in_range; check_record_change guards the change.
create or replace function record_ledger.cancel_range(
    p record_ledger.pipeline,
    from_time timestamptz,
    to_time timestamptz,
    reason text,
    as_of timestamptz
)
returns integer
language plpgsql
as $$
declare
    v_changed integer;
begin
    -- A run may be ending its claim right now: the second of both waits for the first one's commit, and then sees the
    -- record as that one left it.
    update record_ledger.record as r
    set cancellation = jsonb_build_object(
            'cancelled_by', session_user,
            'cancelled_at', record_ledger.local_time(as_of, p.timezone),
            'cancel_reason', reason
        ),
        last_event = 'cancelled',
        last_detail = jsonb_build_object('reason', reason),
        updated_at = as_of
    where r.pipeline_id = p.pipeline_id
        and record_ledger.is_in_range(r.window_start_time, r.window_end_time, from_time, to_time)
        and record_ledger.status_after(
            'cancel',
            r.status,
            r.attempt < p.max_attempts,
            r.cancellation is not null,
            record_ledger.is_lost(r.window_end_time, p.source_retention, as_of)
        ) is not null;
    get diagnostics v_changed = row_count;
    return v_changed;
end
$$;
comment on function record_ledger.cancel_range(
    record_ledger.pipeline, timestamptz, timestamptz, text, timestamptz
) is
'Private. Cancels the claims on the records of a range of a locked pipeline; returns how many.';
-- record_ledger.cancel_records: asks the runs that hold the records of a range to stop; their claims are cancelled.
-- Those whose whole window lies in [from_time, to_time); others are left alone. Returns how many changed. A run learns
-- of it from claim_state, and keeps its claim until it has stopped, so no second run begins beside it. However the
-- claim ends then, the record is FAILED, unless the run completes it; no run is passed it before it is reopened.
-- Called by: operators, through the runner's command cancel, the dbt macro of the same name, or psql.
-- Rules: change_range.
create or replace function record_ledger.cancel_records(
    pipeline_id text, from_time timestamptz, to_time timestamptz, reason text
)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    p record_ledger.pipeline;
begin
    perform record_ledger.check_reason(reason);
    perform record_ledger.check_range(from_time, to_time);
    -- A pass could otherwise hand one of the records to its run again, with a claim that is not cancelled.
    p := record_ledger.lock_pipeline(pipeline_id);
    return record_ledger.change_range(
        'cancel', p, from_time, to_time, reason, record_ledger.clock()
    );
end
$$;
comment on function record_ledger.cancel_records(text, timestamptz, timestamptz, text) is
'Asks the runs that hold records whose whole window lies in a range to stop, with a reason; returns how many. Unless completed they end as FAILED.';
-- record_ledger.change_range: waives, reopens, expires or cancels records of a locked pipeline; returns how many.
-- Those whose whole window lies in [from_time, to_time); others are left alone. It is one statement.
-- Called by: waive_records, reopen_records, expire_leases, cancel_records, range_step.
-- Rules: waive_range, reopen_range, expire_range, cancel_range.
create or replace function record_ledger.change_range(
    operation text,
    p record_ledger.pipeline,
    from_time timestamptz,
    to_time timestamptz,
    reason text,
    as_of timestamptz
)
returns integer
language plpgsql
as $$
begin
    return case operation
        when 'waive' then record_ledger.waive_range(p, from_time, to_time, reason, as_of)
        when 'reopen'
            then record_ledger.reopen_range(
                p, from_time, to_time, jsonb_build_object('reason', reason), as_of
            )
        when 'expire' then record_ledger.expire_range(p, from_time, to_time, reason, as_of)
        when 'cancel' then record_ledger.cancel_range(p, from_time, to_time, reason, as_of)
    end;
end
$$;
comment on function record_ledger.change_range(
    text, record_ledger.pipeline, timestamptz, timestamptz, text, timestamptz
) is
'Private. Waives, reopens, expires or cancels the records of a range of a locked pipeline; returns how many.';
-- record_ledger.check_backfill: raises RL005 unless a pipeline's history can be extended back to an instant.
-- Returns where its first stored window starts.
-- Called by: backfill_records, range_step, range_effects.
-- Rules: archive_end.
create or replace function record_ledger.check_backfill(
    p record_ledger.pipeline, from_time timestamptz
)
returns timestamptz
language plpgsql
stable
as $$
declare
    v_first_start timestamptz;
    v_count numeric;
begin
    if from_time is null then
        raise exception 'from_time: null is no time'
            using errcode = 'RL005', hint = 'Say from when on the pipeline shall have records.';
    end if;
    if from_time = 'infinity'
        or greatest(from_time, timestamptz '1900-01-01 00:00:00+00') at time zone p.timezone
            < timestamp '1970-01-01 00:00:00'
    then
        raise exception 'from_time: % is out of range', record_ledger.iso_time(from_time)
            using errcode = 'RL005',
            hint = 'Records can be added from 1970-01-01 on, by the pipeline''s local time.';
    end if;
    if p.is_retired then
        raise exception 'pipeline % is retired: no record is added to it', p.pipeline_id
            using errcode = 'RL005', hint = 'resume_pipeline(pipeline_id, reason) brings it back.';
    end if;
    select r.window_start_time into v_first_start
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id
    order by r.window_start_time
    limit 1;
    if v_first_start is null then
        raise exception 'pipeline % has no record yet, so there is nothing to add before',
            p.pipeline_id
            using errcode = 'RL005',
            hint = 'Put start_at into its config: its first window then starts there.';
    end if;
    -- It is one transaction, which has to end.
    v_count := extract(epoch from v_first_start - from_time) / extract(epoch from p.granularity);
    if v_count > 10000000 then
        raise exception 'from_time: % would add % windows of % before the first one; '
            'at most 10000000 can be added at once',
            record_ledger.local_time(from_time, p.timezone),
            trunc(v_count),
            record_ledger.time_interval(from_time, from_time + p.granularity)
            using errcode = 'RL005', hint = 'Give a later time.';
    end if;
    -- Everything older is archived, and the first record starts where the archive ends.
    if from_time < v_first_start and record_ledger.archive_end(p.pipeline_id) is not null then
        raise exception 'pipeline % is archived until %: nothing can be added before that',
            p.pipeline_id, record_ledger.local_time(v_first_start, p.timezone)
            using errcode = 'RL005',
            hint = 'What was there stands in the view archived_records.';
    end if;
    return v_first_start;
end
$$;
comment on function record_ledger.check_backfill(record_ledger.pipeline, timestamptz) is
'Private. Raises RL005 unless records can be added from an instant on; returns where the first stored window starts.';
-- record_ledger.check_claim_tokens: raises RL005 unless a list names up to 10,000 claims of a pipeline, each once.
-- The lists that go with it, of details and of windows, may be null; else they have one entry per token.
-- Called by: complete_records.
-- Rules: check_detail.
create or replace function record_ledger.check_claim_tokens(
    claim_tokens bigint[], details jsonb[], window_start_times timestamptz[]
)
returns void
language plpgsql
immutable
as $$
declare
    v_count constant integer := cardinality(claim_tokens);
    v_problem text;
    v_hint text;
    v_entry record;
begin
    if claim_tokens is null or v_count > 10000 then
        raise exception 'claim_tokens: %',
            coalesce(v_count || ' tokens are too many', 'null is no list of tokens')
            using errcode = 'RL005',
            hint = 'Give the claim tokens of 10000 records at most, in an array.';
    end if;
    v_problem := case
        when cardinality(details) <> v_count then format('details: it has %s', cardinality(details))
        when cardinality(window_start_times) <> v_count
            then format('window_start_times: it has %s', cardinality(window_start_times))
    end;
    if v_problem is not null then
        raise exception '% entries, and claim_tokens %', v_problem, v_count
            using errcode = 'RL005',
            hint = 'Give one entry for each claim token, in the same order, or null for the whole.';
    end if;
    if v_count <> (select count(distinct t) from unnest(claim_tokens) as t) then
        select t.claim_token, min(t.entry_no) as entry_no into v_entry
        from unnest(claim_tokens) with ordinality as t (claim_token, entry_no)
        group by t.claim_token
        having t.claim_token is null or count(*) > 1
        order by 2
        limit 1;
        raise exception 'claim_tokens: entry % is %',
            v_entry.entry_no,
            coalesce(v_entry.claim_token || ', which is given more than once', 'null')
            using errcode = 'RL005',
            hint = 'Give each claim token once, as in the records that were passed.';
    end if;
    if details is null then
        return;
    end if;
    begin
        for v_entry in
            select t.claim_token, t.detail
            from unnest(claim_tokens, details) as t (claim_token, detail)
            where t.detail <> '{}'
        loop
            perform record_ledger.check_detail(v_entry.detail);
        end loop;
    exception
        when sqlstate 'RL005' then
            -- Whose detail it is, the check does not know.
            get stacked diagnostics v_problem = message_text, v_hint = pg_exception_hint;
            raise exception '% (that of claim token %)', v_problem, v_entry.claim_token
                using errcode = 'RL005', hint = v_hint;
    end;
end
$$;
comment on function record_ledger.check_claim_tokens(bigint[], jsonb[], timestamptz[]) is
'Private. Raises RL005 unless a list names up to 10,000 claims, each once, and what goes with it has one entry per token.';
-- record_ledger.check_detail: raises RL005 unless a detail can be kept and read.
-- 64 KiB at most: it is kept in the history for good, and every reader of the history reads it.
-- Called by: complete_record, complete_and_pass, check_claim_tokens, observe_record.
-- Rules: json_problem.
create or replace function record_ledger.check_detail(detail jsonb)
returns void
language plpgsql
immutable
as $$
declare
    v_problem constant text := record_ledger.json_problem(detail, 65536);
begin
    if v_problem is not null then
        raise exception 'detail: it %', v_problem
            using errcode = 'RL005',
            hint = 'Keep large results elsewhere, and put their place into the detail.';
    end if;
end
$$;
comment on function record_ledger.check_detail(jsonb) is
'Private. Raises RL005 for a detail that is too large or too deep to be kept.';
-- record_ledger.check_owner: raises 42501 when a pipeline belongs to a role that the session's user is not a member of.
-- A pipeline without an owner is every runner's.
-- Called by: lock_pipeline, register_config, register_pipeline, register_store_and_pass, pass_valid_record,
-- complete_records, check_owner_of.
-- Rules: may_act.
create or replace function record_ledger.check_owner(pipeline_id text, owner_role text)
returns void
language plpgsql
stable
as $$
begin
    if owner_role is null or record_ledger.may_act(owner_role) then
        return;
    end if;
    raise exception
        'permission denied: pipeline "%" belongs to role %, and % is not a member of it',
        pipeline_id, quote_ident(owner_role), session_user
        using errcode = '42501',
        hint = case
            when to_regrole(quote_ident(owner_role)) is null then
                'That role does not exist: the ledger''s owner can name another one with '
                'set_pipeline_owner(pipeline_id, role).'
            else 'Connect as a member of that role, or have it granted: grant '
                || quote_ident(owner_role) || ' to ' || quote_ident(session_user) || '.'
        end;
end
$$;
comment on function record_ledger.check_owner(text, text) is
'Private. Raises 42501 when a pipeline belongs to a role that the session''s user is not a member of.';
-- record_ledger.check_owner_of: check_owner for calls that name a pipeline and have not read it.
-- An unknown pipeline is left to the caller, which has a better sentence about it.
-- Called by: end_claim, extend_lease, lock_record; check_counts, when a record is completed.
-- Rules: check_owner.
create or replace function record_ledger.check_owner_of(pipeline_id text)
returns void
language plpgsql
stable
as $$
begin
    perform record_ledger.check_owner(p.pipeline_id, p.owner_role)
    from record_ledger.pipeline as p
    where p.pipeline_id = check_owner_of.pipeline_id and p.owner_role is not null;
end
$$;
comment on function record_ledger.check_owner_of(text) is
'Private. Raises 42501 when the pipeline of that name belongs to a role that the session''s user is not a member of.';
-- record_ledger.check_range: raises RL005 for a range that holds no time, or that is not said.
-- -infinity and infinity are bounds like others: whoever means everything has to say so.
-- Called by: waive_records, reopen_records, expire_leases, cancel_records, range_step, range_effects.
-- Rules: none.
create or replace function record_ledger.check_range(from_time timestamptz, to_time timestamptz)
returns void
language plpgsql
stable
as $$
begin
    if from_time is null or to_time is null then
        raise exception '%: null is no time',
            case when from_time is null then 'from_time' else 'to_time' end
            using errcode = 'RL005',
            hint = 'Give both ends of the range; -infinity and infinity are ends, too.';
    end if;
    if from_time >= to_time then
        raise exception 'the range from % to % holds no time',
            record_ledger.iso_time(from_time), record_ledger.iso_time(to_time)
            using errcode = 'RL005',
            hint = 'The end is the first instant after the range: for one day, give the next one.';
    end if;
end
$$;
comment on function record_ledger.check_range(timestamptz, timestamptz) is
'Private. Raises RL005 for a range that is inverted, empty or null.';
-- record_ledger.check_reason: raises RL005 unless an operator says why.
-- The reason is kept in the history, where the next one who wonders will look for it.
-- Called by: the routines of operators, range_step.
-- Rules: none.
create or replace function record_ledger.check_reason(
    reason text, is_optional boolean default false
)
returns void
language plpgsql
immutable
as $$
begin
    if not is_optional and coalesce(reason !~ '[^[:space:]]', true) then
        raise exception 'reason: % is no reason', coalesce('"' || left(reason, 80) || '"', 'null')
            using errcode = 'RL005',
            hint = 'Say why in a few words: they are kept with who did it and when.';
    end if;
    if octet_length(reason) > 8192 then
        raise exception 'reason: it is % bytes long; give 8192 at most', octet_length(reason)
            using errcode = 'RL005',
            hint = 'Say why in a few words: they stand in each sentence about what they are for.';
    end if;
end
$$;
comment on function record_ledger.check_reason(text, boolean) is
'Private. Raises RL005 for a reason that is null or blank, unless it is optional, or of more than 8 KiB.';
-- record_ledger.check_stage: raises RL005 unless a text can name a stage at which records are counted.
-- Says which text it was, and what a stage's name is.
-- Called by: observe_record, adopt_observations.
-- Rules: is_stage.
create or replace function record_ledger.check_stage(stage text)
returns void
language plpgsql
immutable
as $$
begin
    if not record_ledger.is_stage(stage) then
        raise exception 'stage: % is no name of a stage; give a text of 1 to 255 bytes',
            coalesce('"' || left(stage, 80) || '"', 'null') using errcode = 'RL005';
    end if;
end
$$;
comment on function record_ledger.check_stage(text) is
'Private. Raises RL005 for a text that can name no stage.';
-- record_ledger.claim_state: whether a claim is current, cancelled or lost, and why; reads only.
--   current    the record is this claim's; reason is null
--   cancelled  it still is, and an operator wants the work to stop: fail it without a retry; reason is the operator's
--   lost       it is not; reason says what ended the claim, or that no record was passed with this token
-- Called by: runs that work for long, at least every 30 seconds: heartbeats go on, and tell of no cancellation.
-- Rules: claim_loss.
create or replace function record_ledger.claim_state(
    pipeline_id text,
    claim_token bigint,
    out state text,
    out reason text,
    out cancelled_by text
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
begin
    select
        case when r.cancellation is null then 'current' else 'cancelled' end,
        r.cancellation ->> 'cancel_reason',
        r.cancellation ->> 'cancelled_by'
    into claim_state.state, claim_state.reason, claim_state.cancelled_by
    from record_ledger.claim as c
    join record_ledger.record as r
        on r.pipeline_id = c.pipeline_id and r.window_start_time = c.window_start_time
    where c.pipeline_id = claim_state.pipeline_id and c.claim_token = claim_state.claim_token
        and r.claim_token = claim_state.claim_token and r.status = 'IN_PROGRESS';
    if not found then
        state := 'lost';
        reason := record_ledger.claim_loss(claim_state.pipeline_id, claim_state.claim_token);
    end if;
end
$$;
comment on function record_ledger.claim_state(text, bigint) is
'Whether a claim is current, cancelled (by whom, why) or lost: (state, reason, cancelled_by). Reads only.';
-- record_ledger.collect_expired_leases: takes back records of a locked pipeline whose lease has run out, ten at most.
-- Pending again with a backoff from the expiry on, or failed when no attempt is left or the claim was cancelled, as
-- check_record_change says. No daemon: each pass does it.
-- Called by: pass_record.
-- Rules: expired_claims, retry_time.
create or replace function record_ledger.collect_expired_leases(
    p record_ledger.pipeline, lease_mark timestamptz, as_of timestamptz
)
returns void
language plpgsql
as $$
declare
    v_start timestamptz;
begin
    -- One by one: joined to the records, or as a list, a session that has planned it on an empty ledger could walk
    -- through all of them.
    for v_start in
        select e.window_start_time
        from record_ledger.expired_claims(
            p.pipeline_id, collect_expired_leases.lease_mark, as_of
        ) as e
    loop
        update record_ledger.record as r
        set retry_at = case
                when r.attempt < p.max_attempts
                    then record_ledger.retry_time(
                        r.lease_expires_at, r.attempt, r.window_end_time, p
                    )
            end,
            claim_token = case when r.attempt < p.max_attempts then null else r.claim_token end,
            run_id = case when r.attempt < p.max_attempts then null else r.run_id end,
            lease_expires_at = null,
            cancellation = null,
            last_event = 'lease_expired',
            last_detail = jsonb_build_object(
                'lease_expires_at', record_ledger.local_time(r.lease_expires_at, p.timezone)
            ),
            updated_at = as_of
        where r.pipeline_id = p.pipeline_id and r.window_start_time = v_start
            -- Its run may have ended or extended it meanwhile.
            and r.lane = 'active' and r.lease_expires_at <= as_of;
    end loop;
end
$$;
comment on function record_ledger.collect_expired_leases(
    record_ledger.pipeline, timestamptz, timestamptz
) is
'Private. Takes back records of a locked pipeline whose lease has run out, ten at most.';
-- record_ledger.complete_and_pass: completes a passed record and passes the next one, in one statement and one commit.
-- Ends the claim as complete_record does, then passes as pass_valid_record does, to run_id: a new one, because a run
-- keeps its record for good. It stores no windows and renders nothing: the caller's next full call does.
-- Safe to repeat with the same run_id: the completion is confirmed, and the run gets the record that it is bound to.
-- Without the current token (RL004), or where the counts do not agree (RL007), nothing is done.
-- exit_dag true: the record is completed, and none was passed; the verdict says why.
-- Called by: runs that process one record after another; the runner's drain, exec --drain.
-- Rules: end_claim, pass_record, check_detail.
create or replace function record_ledger.complete_and_pass(
    pipeline_id text,
    claim_token bigint,
    run_id text,
    detail jsonb default '{}',
    window_start_time timestamptz default null,
    out exit_dag boolean,
    out verdict text,
    out reason text,
    out record jsonb
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_variable
declare
    p record_ledger.pipeline;
    v_answer record;
begin
    if not (record_ledger.is_safe_to_write() and record_ledger.is_run_id(run_id)) then
        perform record_ledger.refuse_call(run_id);
    end if;
    if detail <> '{}' then
        perform record_ledger.check_detail(detail);
    end if;
    -- The pipeline first and then the record, as every pass locks them: two sessions could otherwise wait for each
    -- other, one with the record that it has completed, the other with the pipeline in which it collects that record.
    p := record_ledger.lock_pipeline(pipeline_id);
    perform record_ledger.end_claim(
        pipeline_id, claim_token, window_start_time, 'completed', coalesce(detail, '{}')
    );
    v_answer := record_ledger.pass_record(p, run_id, record_ledger.clock(), '[]');
    exit_dag := v_answer.exit_dag;
    verdict := v_answer.verdict;
    reason := v_answer.reason;
    record := v_answer.record;
end
$$;
comment on function record_ledger.complete_and_pass(text, bigint, text, jsonb, timestamptz) is
'Completes a passed record and passes the next one to a run, in one commit: (exit_dag, verdict, reason, record). RL004 unless the claim token is current, RL007 unless its counts agree: nothing is done then. Stores and renders nothing.';
-- record_ledger.complete_locked_records: completes records whose claims the caller holds locked and has found current.
-- Where one of them needs counts and they do not agree, RL007, and none is completed.
-- Called by: complete_records.
-- Rules: check_record_change guards each change, and asks for the counts.
create or replace function record_ledger.complete_locked_records(
    pipeline_id text,
    -- Sorted.
    window_start_times timestamptz[],
    -- All tokens of the call, sorted, and in the same places their details.
    claim_tokens bigint[],
    details jsonb[],
    as_of timestamptz
)
returns void
language plpgsql
as $$
begin
    -- One table and no join: whatever the planner knows of it, the primary key finds the rows.
    update record_ledger.record as r
    set lease_expires_at = null,
        cancellation = null,
        last_event = 'completed',
        last_detail = details[width_bucket(r.claim_token, claim_tokens)],
        updated_at = as_of
    where r.pipeline_id = complete_locked_records.pipeline_id
        and r.window_start_time = any(window_start_times)
        -- Where the plan does not take the list into the index, it walks no further than this.
        and r.window_start_time >= window_start_times[1]
        and r.window_start_time <= window_start_times[cardinality(window_start_times)];
end
$$;
comment on function record_ledger.complete_locked_records(
    text, timestamptz[], bigint[], jsonb[], timestamptz
) is
'Private. Completes records whose claims the caller holds locked and has found current; RL007 where counts do not agree.';
-- record_ledger.complete_record: marks a passed record COMPLETED.
-- Needs the current claim token (RL004 else), and when a window is named, that of the claim. Repeating it with the
-- token that completed changes nothing.
-- Called by: everyone who was passed a record.
-- Rules: end_claim, check_detail.
create or replace function record_ledger.complete_record(
    pipeline_id text,
    claim_token bigint,
    detail jsonb default '{}',
    window_start_time timestamptz default null
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
begin
    if complete_record.detail <> '{}' then
        perform record_ledger.check_detail(complete_record.detail);
    end if;
    if complete_record.window_start_time is not null and record_ledger.is_safe_to_write() then
        -- What end_claim does, spared what the other endings need. What is not current is left to it.
        update record_ledger.record as r
        set lease_expires_at = null,
            cancellation = null,
            last_event = 'completed',
            last_detail = coalesce(complete_record.detail, '{}'),
            updated_at = record_ledger.clock()
        where r.pipeline_id = complete_record.pipeline_id
            and r.window_start_time = complete_record.window_start_time
            and r.claim_token = complete_record.claim_token and r.status = 'IN_PROGRESS';
        if found then
            return;
        end if;
    end if;
    perform record_ledger.end_claim(
        complete_record.pipeline_id,
        complete_record.claim_token,
        complete_record.window_start_time,
        'completed',
        coalesce(complete_record.detail, '{}')
    );
end
$$;
comment on function record_ledger.complete_record(text, bigint, jsonb, timestamptz) is
'Marks a passed record COMPLETED; detail is kept in its history. RL004 unless the claim token is current, and that of the window when one is named.';
-- record_ledger.complete_records: marks many passed records of a pipeline COMPLETED, in one statement and one commit.
-- One row per token, in the order given, and none hinders another:
--   completed  the record is completed, now or earlier by this very token; reason is null
--   lost       the token is not current, or not that of the window named; reason says what ended the claim
--   refused    its counts do not agree, and the record stays claimed; reason is the sentence of RL007
-- details and window_start_times have one entry per token where they are given; null among them is an empty detail, and
-- a window that is not named. RL005 for what is no such list; nothing is changed then.
-- Called by: runs that were passed a batch (pass_valid_records).
-- Rules: check_claim_tokens, complete_locked_records, claim_loss, confirm_repeated.
create or replace function record_ledger.complete_records(
    pipeline_id text,
    claim_tokens bigint[],
    details jsonb[] default null,
    window_start_times timestamptz[] default null
)
returns table (claim_token bigint, outcome text, reason text)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    -- Sorted, so that width_bucket finds the place of a token by bisection; details and windows are in the same places.
    v_tokens bigint[];
    v_details jsonb[];
    v_windows timestamptz[];
    -- Of the records that are this call's to complete.
    v_held bigint[];
    v_starts timestamptz[];
    v_counted bigint[];
    v_counted_starts timestamptz[];
    -- Of the tokens that are lost or refused; the answers by token are objects, in which each is found quickly.
    v_others text[] := '{}';
    v_outcomes text[] := '{}';
    v_reasons text[] := '{}';
    v_outcome_of jsonb;
    v_reason_of jsonb;
    v_is_repeated boolean := false;
    v_rest record;
    v_now timestamptz;
    p record_ledger.pipeline;
begin
    if not record_ledger.is_safe_to_write() then
        perform record_ledger.refuse_call();
    end if;
    perform record_ledger.check_claim_tokens(claim_tokens, details, window_start_times);
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = complete_records.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(complete_records.pipeline_id);
    end if;
    perform record_ledger.check_owner(p.pipeline_id, p.owner_role);

    select
        array_agg(t.claim_token order by t.claim_token),
        array_agg(coalesce(t.detail, '{}') order by t.claim_token),
        array_agg(t.window_start_time order by t.claim_token)
    into v_tokens, v_details, v_windows
    from unnest(claim_tokens, details, window_start_times)
        as t (claim_token, detail, window_start_time);
    select array_agg(c.window_start_time order by c.window_start_time) into v_starts
    from record_ledger.claim as c
    where c.pipeline_id = p.pipeline_id and c.claim_token = any(v_tokens)
        and c.claim_token >= v_tokens[1] and c.claim_token <= v_tokens[cardinality(v_tokens)];

    -- Two calls may name the same records in another order, and would wait for each other: all are locked first, in the
    -- order of their windows. A lease may be collected right now, or a record counted: whoever comes second waits for
    -- the first one's commit, and sees the record as that one left it.
    select
        array_agg(l.claim_token),
        array_agg(l.window_start_time) filter (where not l.needs_counts),
        array_agg(l.claim_token) filter (where l.needs_counts),
        array_agg(l.window_start_time) filter (where l.needs_counts)
    into v_held, v_starts, v_counted, v_counted_starts
    from (
        select r.window_start_time, r.claim_token, r.needs_counts
        from record_ledger.record as r
        where r.pipeline_id = p.pipeline_id
            and r.window_start_time = any(v_starts)
            -- Where the plan does not take the list into the index, it walks no further than this.
            and r.window_start_time >= v_starts[1]
            and r.window_start_time <= v_starts[cardinality(v_starts)]
            and r.status = 'IN_PROGRESS'
            and r.claim_token = v_tokens[width_bucket(r.claim_token, v_tokens)]
            and coalesce(
                r.window_start_time = v_windows[width_bucket(r.claim_token, v_tokens)], true
            )
        order by r.window_start_time
        for no key update
    ) as l;
    v_now := record_ledger.clock();
    if v_starts is not null then
        perform record_ledger.complete_locked_records(
            p.pipeline_id, v_starts, v_tokens, v_details, v_now
        );
    end if;
    if v_counted is not null then
        begin
            perform record_ledger.complete_locked_records(
                p.pipeline_id, v_counted_starts, v_tokens, v_details, v_now
            );
        exception
            -- None of them is completed, because one at least is refused: so each by itself.
            when sqlstate 'RL007' then
                for i in 1..cardinality(v_counted) loop
                    begin
                        perform record_ledger.complete_locked_records(
                            p.pipeline_id, v_counted_starts[i:i], v_tokens, v_details, v_now
                        );
                    exception
                        when sqlstate 'RL007' then
                            v_others := v_others || v_counted[i]::text;
                            v_outcomes := v_outcomes || 'refused'::text;
                            v_reasons := v_reasons || sqlerrm;
                    end;
                end loop;
        end;
    end if;

    if cardinality(v_held) is distinct from cardinality(v_tokens) then
        for v_rest in
            select
                t.claim_token,
                v_windows[width_bucket(t.claim_token, v_tokens)] as window_start_time,
                record_ledger.is_completed_by(
                    p.pipeline_id,
                    t.claim_token,
                    v_windows[width_bucket(t.claim_token, v_tokens)]
                ) as is_completed
            from (
                select n.claim_token
                from unnest(v_tokens) as n (claim_token)
                except
                select h.claim_token
                from unnest(v_held) as h (claim_token)
            ) as t
        loop
            if v_rest.is_completed then
                v_is_repeated := true;
            else
                v_others := v_others || v_rest.claim_token::text;
                v_outcomes := v_outcomes || 'lost'::text;
                v_reasons := v_reasons || record_ledger.claim_loss(
                    p.pipeline_id, v_rest.claim_token, v_rest.window_start_time
                );
            end if;
        end loop;
        if v_is_repeated then
            perform record_ledger.confirm_repeated();
        end if;
    end if;
    v_outcome_of := jsonb_object(v_others, v_outcomes);
    v_reason_of := jsonb_object(v_others, v_reasons);
    return query
    select
        t.claim_token,
        coalesce(v_outcome_of ->> t.claim_token::text, 'completed'),
        v_reason_of ->> t.claim_token::text
    from unnest(claim_tokens) with ordinality as t (claim_token, entry_no)
    order by t.entry_no;
end
$$;
comment on function record_ledger.complete_records(text, bigint[], jsonb[], timestamptz[]) is
'Marks many passed records COMPLETED in one commit. One row per token, in the order given: completed, lost (the claim token is not current) or refused (its counts do not agree), and why.';
-- record_ledger.confirm_repeated: has the answer to a repeated call wait for the standbys that confirm commits.
-- What the first call did may have been committed on this server alone: its session may have ended while it waited for
-- a standby. A call that only reads waits for none, and would acknowledge what a failover takes back.
-- Called by: end_claim, complete_records, when the claim was ended so before.
-- Rules: none.
create or replace function record_ledger.confirm_repeated()
returns void
language plpgsql
as $$
begin
    -- The smallest thing that is written to the log; nothing reads it.
    perform pg_catalog.pg_logical_emit_message(true, 'record_ledger', '');
end
$$;
comment on function record_ledger.confirm_repeated() is
'Private. Has the answer to a repeated call wait for the standbys that confirm commits.';
-- record_ledger.create_archive_partitions: makes room in the archive for the windows between two instants.
-- One partition per year (UTC) and archive table; nothing when they are there. Blocks no reader and no other writer.
-- Called by: archive_records.
-- Rules: none.
create or replace function record_ledger.create_archive_partitions(
    first_start timestamptz, last_start timestamptz
)
returns void
language plpgsql
as $$
declare
    v_year timestamp;
    v_table text;
    v_partition text;
    v_grantee text;
begin
    for v_year in
        select n
        from generate_series(
            date_trunc('year', first_start at time zone 'UTC'),
            last_start at time zone 'UTC',
            interval '1 year'
        ) as n
    loop
        foreach v_table in array array[
            'archived_record', 'archived_record_event', 'archived_record_observation'
        ] loop
            v_partition := format('%s_%s', v_table, extract(year from v_year));
            continue when to_regclass(format('record_ledger.%I', v_partition)) is not null;
            -- Archivers of two pipelines may both find the year missing. Attaching takes this lock anyway; no reader
            -- and no insert waits for it, and it is taken before the second look.
            execute format('lock table record_ledger.%I in share update exclusive mode', v_table);
            continue when to_regclass(format('record_ledger.%I', v_partition)) is not null;
            execute format(
                'create table record_ledger.%I (like record_ledger.%I including all)',
                v_partition, v_table
            );
            -- The owner's default privileges may grant rights on whatever it creates.
            for v_grantee in
                select distinct
                    case a.grantee
                        when 0 then 'public'
                        else quote_ident(pg_get_userbyid(a.grantee))
                    end
                from pg_class as c
                cross join lateral aclexplode(c.relacl) as a
                where c.oid = to_regclass(format('record_ledger.%I', v_partition))
                    and a.grantee <> c.relowner
            loop
                execute format(
                    'revoke all on table record_ledger.%I from %s', v_partition, v_grantee
                );
            end loop;
            -- Of a table's triggers only those for each row pass to its partitions.
            execute format(
                'create trigger refuse_truncate before truncate on record_ledger.%I '
                'for each statement execute function record_ledger.refuse_change()', v_partition
            );
            execute format(
                'comment on table record_ledger.%I is %L', v_partition,
                format('Private. The part of %s for the windows of one year.', v_table)
            );
            -- Created apart and attached: a partition created in its place would lock out every reader of the table.
            -- It is empty, so there is nothing to search for rows that do not belong there. Its bounds are written by
            -- hand: a DateStyle writes zones as abbreviations, and IST is read as another zone's before PostgreSQL 18.
            execute format(
                'alter table record_ledger.%I attach partition record_ledger.%I '
                'for values from (%L) to (%L)',
                v_table,
                v_partition,
                to_char(v_year, 'YYYY-MM-DD"T"HH24:MI:SS"+00"'),
                to_char(v_year + interval '1 year', 'YYYY-MM-DD"T"HH24:MI:SS"+00"')
            );
        end loop;
    end loop;
end
$$;
comment on function record_ledger.create_archive_partitions(timestamptz, timestamptz) is
'Private. Creates the partitions of the archive tables that windows between two instants need.';
-- record_ledger.end_claim: ends a claim with its current token, in one of three ways.
-- Repeating the call that ended it changes nothing; with a token that is not current, or not of the window that is
-- named, it raises RL004.
-- Called by: complete_record, fail_record, release_record, complete_and_pass.
-- Rules: retry_time, postponement, confirm_repeated; check_record_change guards it, and fails what was cancelled.
create or replace function record_ledger.end_claim(
    pipeline_id text,
    claim_token bigint,
    window_start_time timestamptz,
    event text,
    detail jsonb,
    retry boolean default true,
    not_before timestamptz default null
)
returns void
language plpgsql
as $$
#variable_conflict use_column
declare
    v_now timestamptz := record_ledger.clock();
    -- The record is pending again while its attempts are below this limit.
    v_limit integer := case end_claim.event when 'released' then 2147483647 else 0 end;
    v_postponement jsonb;
    v_retry_at timestamptz;
    p record_ledger.pipeline;
    r record_ledger.record;
begin
    if not record_ledger.is_safe_to_write() then
        perform record_ledger.refuse_call();
    end if;
    -- check_record_change asks when a record is completed, and only for pipelines that have an owner.
    if end_claim.event <> 'completed' then
        perform record_ledger.check_owner_of(end_claim.pipeline_id);
    end if;
    if end_claim.event = 'failed' and end_claim.retry or end_claim.not_before > v_now then
        select q.* into p
        from record_ledger.pipeline as q
        where q.pipeline_id = end_claim.pipeline_id;
        if end_claim.event = 'failed' then
            v_limit := p.max_attempts;
        else
            -- Looked up without a lock: when the token is not current any more, nothing comes of it.
            select q.* into r
            from record_ledger.claim as c
            join record_ledger.record as q
                on q.pipeline_id = c.pipeline_id and q.window_start_time = c.window_start_time
            where c.pipeline_id = end_claim.pipeline_id and c.claim_token = end_claim.claim_token;
            v_postponement := record_ledger.postponement(
                r.run_id, r.window_end_time, p, end_claim.not_before, v_now
            );
            v_retry_at := (v_postponement ->> 'not_before')::timestamptz;
            detail := coalesce(v_postponement - array['released_by', 'run_id'], '{}');
        end if;
    end if;
    -- One guarded statement. A pass may be collecting the lease of this very claim: whoever comes second waits for the
    -- first one's commit, and then sees the record as that one left it.
    update record_ledger.record as r
    set attempt = r.attempt - (end_claim.event = 'released')::integer,
        claim_token = case when r.attempt >= v_limit then r.claim_token end,
        run_id = case when r.attempt >= v_limit then r.run_id end,
        lease_expires_at = null,
        retry_at = case
            when end_claim.event = 'failed' and r.attempt < v_limit
                then record_ledger.retry_time(v_now, r.attempt, r.window_end_time, p)
            else v_retry_at
        end,
        cancellation = null,
        postponement = v_postponement,
        last_event = end_claim.event,
        last_detail = end_claim.detail,
        updated_at = v_now
    where r.pipeline_id = end_claim.pipeline_id
        -- The record knows its token: with the right window, the claim does not have to be looked up.
        and r.window_start_time = coalesce(
            end_claim.window_start_time,
            (
                select c.window_start_time
                from record_ledger.claim as c
                where c.pipeline_id = end_claim.pipeline_id
                    and c.claim_token = end_claim.claim_token
            )
        )
        and r.claim_token = end_claim.claim_token and r.status = 'IN_PROGRESS';
    if found then
        return;
    end if;
    if exists (
        select
        from record_ledger.claim as c
        join record_ledger.record_event as e
            on e.pipeline_id = c.pipeline_id and e.window_start_time = c.window_start_time
        where c.pipeline_id = end_claim.pipeline_id and c.claim_token = end_claim.claim_token
            and c.window_start_time
                = coalesce(end_claim.window_start_time, c.window_start_time)
            and e.claim_token = end_claim.claim_token and e.event = end_claim.event
    ) then
        perform record_ledger.confirm_repeated();
        return;
    end if;
    -- The same of a record that was archived since; a statement of its own, which most calls never plan.
    if exists (
        select
        from record_ledger.claim as c
        join record_ledger.archived_record_event as e
            on e.pipeline_id = c.pipeline_id and e.window_start_time = c.window_start_time
        where c.pipeline_id = end_claim.pipeline_id and c.claim_token = end_claim.claim_token
            and c.window_start_time
                = coalesce(end_claim.window_start_time, c.window_start_time)
            and e.claim_token = end_claim.claim_token and e.event = end_claim.event
    ) then
        perform record_ledger.confirm_repeated();
        return;
    end if;
    perform record_ledger.raise_claim_lost(
        end_claim.pipeline_id, end_claim.claim_token, end_claim.window_start_time
    );
end
$$;
comment on function record_ledger.end_claim(
    text, bigint, timestamptz, text, jsonb, boolean, timestamptz
) is
'Private. Ends a claim with its current token; RL004 when the token is not current.';
-- record_ledger.expire_leases: takes back the records of a range that runs hold which are known to be dead.
-- Those whose whole window lies in [from_time, to_time); others are left alone. Returns how many changed. Pending again
-- with a backoff from now on, or failed when no attempt is left or the claim was cancelled: as when the lease had run
-- out, without the wait.
-- Called by: operators, through the runner's command expire, the dbt macro of the same name, or psql.
-- Rules: change_range.
create or replace function record_ledger.expire_leases(
    pipeline_id text, from_time timestamptz, to_time timestamptz, reason text
)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    p record_ledger.pipeline;
begin
    perform record_ledger.check_reason(reason);
    perform record_ledger.check_range(from_time, to_time);
    -- A pass could otherwise hand one of the claims out anew, and lose that one instead.
    p := record_ledger.lock_pipeline(pipeline_id);
    return record_ledger.change_range(
        'expire', p, from_time, to_time, reason, record_ledger.clock()
    );
end
$$;
comment on function record_ledger.expire_leases(text, timestamptz, timestamptz, text) is
'Ends the claims, known to be dead, on the records whose whole window lies in a range, with a reason; returns how many.';
-- record_ledger.expire_range: takes back records of a locked pipeline that runs hold; returns how many.
-- Those of a range, whose whole window lies in it, that status_after lets be changed; others are left alone.
-- Called by: change_range.
-- Rules: status_after, is_in_range, retry_time; check_record_change guards the change.
create or replace function record_ledger.expire_range(
    p record_ledger.pipeline,
    from_time timestamptz,
    to_time timestamptz,
    reason text,
    as_of timestamptz
)
returns integer
language plpgsql
as $$
declare
    v_changed integer;
begin
    -- A run that is not dead may be ending its claim right now: whoever comes second waits for the first one's commit,
    -- and then sees the record as that one left it.
    update record_ledger.record as r
    set retry_at = case
            when r.attempt < p.max_attempts
                then record_ledger.retry_time(as_of, r.attempt, r.window_end_time, p)
        end,
        claim_token = case when r.attempt < p.max_attempts then null else r.claim_token end,
        run_id = case when r.attempt < p.max_attempts then null else r.run_id end,
        lease_expires_at = null,
        cancellation = null,
        last_event = 'lease_expired',
        last_detail = jsonb_build_object(
            'reason', reason,
            'lease_expires_at', record_ledger.local_time(r.lease_expires_at, p.timezone)
        ),
        updated_at = as_of
    where r.pipeline_id = p.pipeline_id
        and record_ledger.is_in_range(r.window_start_time, r.window_end_time, from_time, to_time)
        and record_ledger.status_after(
            'expire',
            r.status,
            r.attempt < p.max_attempts,
            r.cancellation is not null,
            record_ledger.is_lost(r.window_end_time, p.source_retention, as_of)
        ) is not null;
    get diagnostics v_changed = row_count;
    return v_changed;
end
$$;
comment on function record_ledger.expire_range(
    record_ledger.pipeline, timestamptz, timestamptz, text, timestamptz
) is
'Private. Takes back the records of a range of a locked pipeline that runs hold; returns how many.';
-- record_ledger.extend_lease: the heartbeat of a run; its lease now ends one lease length from now.
-- Returns that instant; RL004 unless the claim token is current, and that of the window when one is named. A cancelled
-- claim is extended as well: no second run begins beside one that still writes. Appends no event.
-- Called by: runs that work for long.
-- Rules: check_owner_of.
create or replace function record_ledger.extend_lease(
    pipeline_id text, claim_token bigint, window_start_time timestamptz default null
)
returns timestamptz
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    v_expires_at timestamptz;
    v_now timestamptz := record_ledger.clock();
    v_is_shorter boolean;
begin
    if not record_ledger.is_safe_to_write() then
        perform record_ledger.refuse_call();
    end if;
    perform record_ledger.check_owner_of(extend_lease.pipeline_id);
    select v_now + p.lease < r.lease_expires_at into v_is_shorter
    from record_ledger.claim as c
    join record_ledger.record as r
        on r.pipeline_id = c.pipeline_id and r.window_start_time = c.window_start_time
        and r.claim_token = c.claim_token
    join record_ledger.pipeline as p on p.pipeline_id = c.pipeline_id
    where c.pipeline_id = extend_lease.pipeline_id and c.claim_token = extend_lease.claim_token;
    if v_is_shorter then
        -- The config gives less time now, and check_record_change voids the marks of the pipeline: its row is locked
        -- first, as by everyone else.
        perform record_ledger.lock_pipeline(extend_lease.pipeline_id);
        v_now := record_ledger.clock();
    end if;
    -- A pass may be collecting this very lease: whoever comes second sees what the first one left.
    update record_ledger.record as r
    set lease_expires_at = greatest(
        v_now + (
            select p.lease from record_ledger.pipeline as p where p.pipeline_id = r.pipeline_id
        ),
        case when v_is_shorter is not true then r.lease_expires_at end
    )
    where r.pipeline_id = extend_lease.pipeline_id
        and r.window_start_time = coalesce(
            extend_lease.window_start_time,
            (
                select c.window_start_time
                from record_ledger.claim as c
                where c.pipeline_id = extend_lease.pipeline_id
                    and c.claim_token = extend_lease.claim_token
            )
        )
        and r.claim_token = extend_lease.claim_token and r.status = 'IN_PROGRESS'
    returning r.lease_expires_at into v_expires_at;
    if not found then
        perform record_ledger.raise_claim_lost(
            extend_lease.pipeline_id, extend_lease.claim_token, extend_lease.window_start_time
        );
    end if;
    return v_expires_at;
end
$$;
comment on function record_ledger.extend_lease(text, bigint, timestamptz) is
'Heartbeat: the lease of a passed record now ends one lease length from now. RL004 unless the claim token is current.';
-- record_ledger.fail_record: gives a passed record back after a failure.
-- Pending again after a backoff while attempts are left; FAILED when none is, when retry is false, or when the claim
-- was cancelled. When a window is named, it must be the claim's (RL004 else).
-- Called by: everyone who was passed a record.
-- Rules: end_claim, retry_time, shortened.
create or replace function record_ledger.fail_record(
    pipeline_id text,
    claim_token bigint,
    error text,
    retry boolean default true,
    window_start_time timestamptz default null
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
    if fail_record.retry is null then
        raise exception 'retry: null is neither true nor false' using errcode = 'RL005';
    end if;
    perform record_ledger.end_claim(
        pipeline_id,
        claim_token,
        window_start_time,
        'failed',
        jsonb_build_object(
            'error', coalesce(record_ledger.shortened(error, 8192), ''), 'retry', retry
        ),
        retry
    );
end
$$;
comment on function record_ledger.fail_record(text, bigint, text, boolean, timestamptz) is
'Gives a passed record back after a failure: PENDING with a backoff while attempts are left and retry is true, else FAILED.';
-- record_ledger.is_day_sealed: is a local day of a pipeline covered, without a gap, by windows that are done?
-- True only when windows that are done cover [its midnight, the next one) of the zone in force, whatever zone they were
-- cut with and wherever they begin and end. A day that is being loaded anew is published still, and sealed again when
-- that is done.
-- Called by: is-day-sealed of the runner, the dbt test sealed_through, whoever waits for a day.
-- Rules: day_coverage.
create or replace function record_ledger.is_day_sealed(pipeline_id text, local_date date)
returns boolean
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    p record_ledger.pipeline;
begin
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = is_day_sealed.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(is_day_sealed.pipeline_id);
    end if;
    -- Of the days beyond these, PostgreSQL does not know every midnight.
    if is_day_sealed.local_date between date '0001-01-01' and date '9999-12-31' is not true then
        raise exception 'local_date: % is no day; give one such as 2026-11-22',
            coalesce(is_day_sealed.local_date::text, 'null')
            using errcode = 'RL005';
    end if;
    return (record_ledger.day_coverage(p, is_day_sealed.local_date)).is_sealed;
end
$$;
comment on function record_ledger.is_day_sealed(text, date) is
'Whether completed or waived windows cover a local day of a pipeline from its first to its last instant, archived ones included.';
-- record_ledger.lock_pipeline: locks a pipeline's row for this transaction and returns it as it then is.
-- In a statement of its own: whatever is read next sees all that was committed before the lock was granted.
-- Called by: store_new_records, pass_valid_record, pass_valid_records, complete_and_pass, archive_records, operators'
-- routines.
-- Rules: check_owner.
create or replace function record_ledger.lock_pipeline(pipeline_id text)
returns record_ledger.pipeline
language plpgsql
as $$
declare
    p record_ledger.pipeline;
begin
    if not record_ledger.is_safe_to_write() then
        perform record_ledger.refuse_call();
    end if;
    -- Two runs would otherwise find the same oldest record, or store the same window.
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = lock_pipeline.pipeline_id
    for no key update;
    if not found then
        perform record_ledger.raise_unknown_pipeline(pipeline_id);
    end if;
    perform record_ledger.check_owner(p.pipeline_id, p.owner_role);
    return p;
end
$$;
comment on function record_ledger.lock_pipeline(text) is
'Private. Locks a pipeline''s row and returns it; RL002 when there is none, 42501 when it belongs to a role of others.';
-- record_ledger.lock_record: locks a record for this transaction and returns it as it then is.
-- With a claim token, only when that is the current one of this very record (RL004 else).
-- Called by: observe_record, adopt_observations, waive_counts.
-- Rules: check_owner_of.
create or replace function record_ledger.lock_record(
    pipeline_id text, window_start_time timestamptz, claim_token bigint default null
)
returns record_ledger.record
language plpgsql
as $$
#variable_conflict use_column
declare
    r record_ledger.record;
begin
    if not record_ledger.is_safe_to_write() then
        perform record_ledger.refuse_call();
    end if;
    perform record_ledger.check_owner_of(lock_record.pipeline_id);
    -- The record may be completed, collected, reopened or archived right now: whoever comes second waits for the first
    -- one's commit. So no count is noted under a token that was lost meanwhile, and none is missed by a completion.
    select q.* into r
    from record_ledger.record as q
    where q.pipeline_id = lock_record.pipeline_id
        and q.window_start_time = lock_record.window_start_time
    for no key update;
    if not found then
        -- Archived, it is nobody's: whoever had a claim on it hears what ended that. And a ledger that was set back may
        -- not have the window of a claim that it passed before.
        if lock_record.claim_token is not null then
            perform record_ledger.raise_claim_lost(
                lock_record.pipeline_id, lock_record.claim_token, lock_record.window_start_time
            );
        end if;
        perform record_ledger.raise_no_record(
            lock_record.pipeline_id, lock_record.window_start_time
        );
    end if;
    if lock_record.claim_token is null
        or r.claim_token = lock_record.claim_token and r.status = 'IN_PROGRESS'
    then
        return r;
    end if;
    perform record_ledger.raise_claim_lost(
        r.pipeline_id, lock_record.claim_token, r.window_start_time
    );
end
$$;
comment on function record_ledger.lock_record(text, timestamptz, bigint) is
'Private. Locks a record and returns it; RL005 when there is none, RL004 when a token is given that is not current.';
-- record_ledger.new_windows: the windows of a pipeline that are due and not stored, oldest first.
-- Reads only. Each starts where the one before it ended; all of them when max_windows is null.
-- Called by: build_complete_pipeline_record of the runner, analysts.
-- Rules: next_window_start, due_windows.
create or replace function record_ledger.new_windows(
    pipeline_id text,
    as_of timestamptz default record_ledger.clock(),
    max_windows integer default null
)
returns table (
    target_day date,
    window_start_time timestamptz,
    window_end_time timestamptz,
    time_interval text
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    p record_ledger.pipeline;
begin
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = new_windows.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(pipeline_id);
    end if;
    if as_of is null or not isfinite(as_of) then
        raise exception 'as_of: % is no instant', coalesce(as_of::text, 'null')
            using errcode = 'RL005';
    end if;
    if max_windows < 0 then
        raise exception 'max_windows: % is negative; give a number of windows, or null for all',
            max_windows
            using errcode = 'RL005';
    end if;
    return query
    select d.target_day, d.window_start_time, d.window_end_time,
        record_ledger.time_interval(d.window_start_time, d.window_end_time)
    from record_ledger.due_windows(
        p, record_ledger.next_window_start(p, as_of), as_of, max_windows
    ) as d;
end
$$;
comment on function record_ledger.new_windows(text, timestamptz, integer) is
'The windows of a pipeline that are due as of an instant and not stored yet, oldest first; reads only.';
-- record_ledger.note_filled: notes that a record was filled by a caller where default_record leaves check_fields empty.
-- No other record of such a pipeline can be passed, so passes look for one from the first that was filled on.
-- Called by: store_windows, build_record.
-- Rules: none; register_config forgets it when the fields change.
create or replace function record_ledger.note_filled(
    p record_ledger.pipeline, window_start_time timestamptz
)
returns void
language plpgsql
as $$
begin
    update record_ledger.pipeline as q
    set filled_from = note_filled.window_start_time
    where q.pipeline_id = p.pipeline_id
        and note_filled.window_start_time < coalesce(q.filled_from, 'infinity');
end
$$;
comment on function record_ledger.note_filled(record_ledger.pipeline, timestamptz) is
'Private. Notes that a record was filled by a caller where default_record leaves check_fields empty.';
-- record_ledger.observe_record: notes what was counted of a record, at a stage such as source or target.
-- At any time, also after completion. With the current claim token it is evidence for completing (RL004 with another
-- one, and nothing is noted); without a token it is none. Never updated. Returns its number.
-- Called by: whoever counts: runs, and tasks that count again later.
-- Rules: check_stage, check_detail, lock_record, observation_time; counts_problem judges by it.
create or replace function record_ledger.observe_record(
    pipeline_id text,
    window_start_time timestamptz,
    stage text,
    row_count bigint,
    detail jsonb default '{}',
    claim_token bigint default null
)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    r record_ledger.record;
    v_observation_no integer;
begin
    perform record_ledger.check_stage(observe_record.stage);
    if coalesce(observe_record.row_count < 0, true) then
        raise exception 'row_count: % is no count of rows; give a whole number from 0 on',
            coalesce(observe_record.row_count::text, 'null') using errcode = 'RL005';
    end if;
    if jsonb_typeof(observe_record.detail) <> 'object' then
        raise exception 'detail: % is no object; give one such as {"bytes": 4096}',
            left(observe_record.detail::text, 80) using errcode = 'RL005';
    end if;
    perform record_ledger.check_detail(observe_record.detail);
    r := record_ledger.lock_record(
        observe_record.pipeline_id, observe_record.window_start_time, observe_record.claim_token
    );
    insert into record_ledger.record_observation (
        pipeline_id,
        window_start_time,
        observation_no,
        observed_at,
        stage,
        row_count,
        detail,
        generation,
        claim_token,
        run_id,
        changed_by
    )
    values (
        r.pipeline_id,
        r.window_start_time,
        coalesce(
            (
                select max(o.observation_no)
                from record_ledger.record_observation as o
                where o.pipeline_id = r.pipeline_id and o.window_start_time = r.window_start_time
            ),
            0
        ) + 1,
        record_ledger.observation_time(r),
        observe_record.stage,
        observe_record.row_count,
        coalesce(observe_record.detail, '{}'),
        r.generation,
        observe_record.claim_token,
        case when observe_record.claim_token is not null then r.run_id end,
        case
            when observe_record.stage = 'source' and r.status = 'COMPLETED'
                then observe_record.row_count - (
                    select l.row_count
                    from record_ledger.loaded_count(
                        r.pipeline_id, r.window_start_time, r.generation
                    ) as l
                )
        end
    )
    returning observation_no into v_observation_no;
    return v_observation_no;
end
$$;
comment on function record_ledger.observe_record(text, timestamptz, text, bigint, jsonb, bigint) is
'Notes a count of a record at a stage; evidence for completing when the claim token is current (RL004 else). Returns its number.';
-- record_ledger.oldest_pending_record: the oldest pending record, of one pipeline or of all; passes nothing.
-- Flat as a pass gives it; null when nothing is pending. Whether it is valid, record_verdicts tells.
-- Called by: download_oldest_pending_record of the runner.
-- Rules: lane_heads, record_json.
create or replace function record_ledger.oldest_pending_record(pipeline_id text default null)
returns jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
    if oldest_pending_record.pipeline_id is not null and not exists (
        select
        from record_ledger.pipeline as p
        where p.pipeline_id = oldest_pending_record.pipeline_id
    ) then
        perform record_ledger.raise_unknown_pipeline(oldest_pending_record.pipeline_id);
    end if;
    return (
        select record_ledger.record_json(r, record_ledger.window_timezone(p, r.window_start_time))
        from record_ledger.pipeline as p
        cross join lateral record_ledger.lane_heads(p.pipeline_id) as h
        join record_ledger.record as r
            on r.pipeline_id = p.pipeline_id and r.window_start_time = h.window_start_time
        where p.pipeline_id = coalesce(oldest_pending_record.pipeline_id, p.pipeline_id)
            and r.status = 'PENDING'
        order by r.window_start_time, p.pipeline_id
        limit 1
    );
end
$$;
comment on function record_ledger.oldest_pending_record(text) is
'The oldest pending record of a pipeline, or of all, flat as JSON; null when nothing is pending. Passes nothing.';
-- record_ledger.pass_record: hands the oldest valid record of a locked pipeline to a run, or says why there is none.
-- Collects expired leases and waives lost records first. A passed record has the fields of the config in force, a new
-- claim token and lease; a run keeps its record for good.
-- Called by: pass_valid_record, pass_valid_records, register_store_and_pass, complete_and_pass.
-- Rules: next_answer decides, next_claim_token draws; this writes it down. next_lease_mark, passed_reason,
-- built_windows, build_record, unbuilt_reason.
create or replace function record_ledger.pass_record(
    p record_ledger.pipeline,
    run_id text,
    as_of timestamptz,
    -- What the caller rendered; without templates it is not asked for.
    built jsonb,
    out exit_dag boolean,
    out verdict text,
    out reason text,
    out record jsonb,
    -- Nothing was passed, because the next record is outdated and built does not hold it.
    out awaits_build boolean
)
language plpgsql
as $$
#variable_conflict use_column
declare
    v_answer record;
    v_is_collected boolean := false;
    v_token bigint;
    v_attempt integer;
    v_detail jsonb;
    v_fields jsonb;
    v_built record;
begin
    v_answer := record_ledger.next_answer(p, pass_record.run_id, as_of);
    if v_answer.has_expired or v_answer.bound_window is not null then
        -- The run may be ending its own claim right now, and then asks for what that leaves.
        perform
        from record_ledger.record as b
        where b.pipeline_id = p.pipeline_id and b.window_start_time = v_answer.bound_window
            and b.run_id = pass_record.run_id
        for no key update;
        perform record_ledger.collect_expired_leases(p, v_answer.lease_mark, as_of);
        v_is_collected := true;
        v_answer := record_ledger.next_answer(p, pass_record.run_id, as_of, v_is_collected);
    end if;
    if v_answer.lost_before is not null then
        perform record_ledger.waive_lost_records(p, v_answer.lost_before, as_of);
        v_answer := record_ledger.next_answer(p, pass_record.run_id, as_of, v_is_collected);
    end if;
    while v_answer.is_outdated loop
        v_fields := p.fields;
        if p.has_templates then
            v_fields := (
                select b.fields
                from record_ledger.built_windows(built, p) as b
                join record_ledger.record as r
                    on r.pipeline_id = p.pipeline_id
                    and r.window_start_time = b.window_start_time
                    and r.window_end_time = b.window_end_time
                where b.window_start_time = v_answer.window_start_time
            );
        end if;
        if v_fields is null then
            exit_dag := true;
            awaits_build := true;
            verdict := 'INCOMPLETE';
            reason := record_ledger.unbuilt_reason(p, v_answer.window_start_time);
            return;
        end if;
        v_built := record_ledger.build_record(p, v_answer.window_start_time, v_fields, as_of);
        if not v_built.is_event then
            -- The pass itself tells then that it was built anew.
            v_detail := jsonb_build_object('config_version_before', v_built.config_version_before);
        end if;
        exit when v_built.missing_fields is null;
        -- A template gave nothing: this one stays behind, and is not asked for again.
        v_detail := null;
        v_answer := record_ledger.next_answer(p, pass_record.run_id, as_of, v_is_collected);
    end loop;
    verdict := v_answer.verdict;
    reason := v_answer.reason;
    exit_dag := verdict <> 'READY';
    if exit_dag then
        return;
    end if;

    -- Drawn under the pipeline's lock, so that a later pass has a greater token.
    v_token := record_ledger.next_claim_token(v_answer.newest_token, as_of);
    -- Callers that read JSON numbers as floats read tokens exactly below 2^53.
    if v_token >= 9007199254740992 then
        perform record_ledger.refuse_token(p.pipeline_id, v_answer.newest_token, as_of);
    end if;
    with noted as (
        insert into record_ledger.claim (
            pipeline_id,
            claim_token,
            window_start_time,
            bound_run_id,
            waiting_mark,
            active_mark,
            historical_mark,
            returned_mark,
            retry_mark,
            lease_mark,
            others_seen_at,
            historical_credit
        )
        values (
            p.pipeline_id,
            v_token,
            v_answer.window_start_time,
            case when v_answer.bound_window is null then pass_record.run_id end,
            v_answer.waiting_mark,
            least(v_answer.first_active, v_answer.window_start_time),
            v_answer.historical_mark,
            v_answer.returned_mark,
            v_answer.retry_mark,
            record_ledger.next_lease_mark(
                v_answer.first_active, v_answer.lease_mark, as_of + p.lease
            ),
            v_answer.others_seen_at,
            coalesce(v_answer.historical_credit, 0)
        )
    )
    update record_ledger.record as u
    set attempt = u.attempt + (u.status = 'PENDING')::integer,
        claim_token = v_token,
        run_id = pass_record.run_id,
        lease_expires_at = as_of + p.lease,
        retry_at = null,
        postponement = null,
        is_first = v_answer.is_first,
        is_alone = v_answer.is_alone,
        needs_counts = p.required_counts is not null or p.owner_role is not null,
        last_event = case u.status when 'PENDING' then 'passed' else 'passed_again' end,
        last_detail = v_detail,
        updated_at = as_of
    where u.pipeline_id = p.pipeline_id and u.window_start_time = v_answer.window_start_time
    returning record_ledger.record_json(u, record_ledger.window_timezone(p, u.window_start_time)),
        u.attempt
    into record, v_attempt;
    reason := record_ledger.passed_reason(record, pass_record.run_id, v_attempt, p.max_attempts);
end
$$;
comment on function record_ledger.pass_record(record_ledger.pipeline, text, timestamptz, jsonb) is
'Private. Hands the oldest valid record of a locked pipeline to a run, or says why there is none.';
-- record_ledger.pass_valid_record: passes the oldest valid record of a pipeline to a run; stores and renders nothing.
-- An outdated record is built first where the config has no templates; where it has, only a run with the config can.
-- Asked again with the same run_id it answers with the same record; a null run_id binds nothing.
-- exit_dag true comes with a verdict and a reason, and has written nothing unless a lease had expired or a record was
-- lost.
-- Called by: psql and dbt users. Rules: next_answer.
create or replace function record_ledger.pass_valid_record(
    pipeline_id text,
    run_id text,
    out exit_dag boolean,
    out verdict text,
    out reason text,
    out record jsonb
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
    p record_ledger.pipeline;
    v_now timestamptz;
    v_answer record;
begin
    if not (
        record_ledger.is_safe_to_write()
        and record_ledger.is_run_id(pass_valid_record.run_id)
    ) then
        perform record_ledger.refuse_call(pass_valid_record.run_id);
    end if;
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = pass_valid_record.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(pass_valid_record.pipeline_id);
    end if;
    if p.owner_role is not null then
        perform record_ledger.check_owner(p.pipeline_id, p.owner_role);
    end if;
    v_now := record_ledger.clock();
    -- A first look without the lock: an idle pipeline may be asked every minute, and its answer costs no write.
    v_answer := record_ledger.next_answer(p, pass_valid_record.run_id, v_now);
    if (v_answer.verdict <> 'READY' or v_answer.is_outdated and p.has_templates)
        and not v_answer.has_expired and v_answer.lost_before is null
    then
        exit_dag := true;
        verdict := v_answer.verdict;
        reason := v_answer.reason;
        if verdict = 'READY' then
            verdict := 'INCOMPLETE';
            reason := record_ledger.unbuilt_reason(p, v_answer.window_start_time);
        end if;
        return;
    end if;
    p := record_ledger.lock_pipeline(pass_valid_record.pipeline_id);
    v_answer := record_ledger.pass_record(
        p, pass_valid_record.run_id, record_ledger.clock(), '[]'
    );
    exit_dag := v_answer.exit_dag;
    verdict := v_answer.verdict;
    reason := v_answer.reason;
    record := v_answer.record;
end
$$;
comment on function record_ledger.pass_valid_record(text, text) is
'Passes the oldest valid record of a pipeline to a run: (exit_dag, verdict, reason, record). Stores and renders nothing.';
-- record_ledger.pass_valid_records: the whole cycle for several records at once, in one statement and one commit.
-- Registers, stores and passes as store_new_and_pass_valid_record does, then passes on, oldest first, up to the limit.
-- The k-th record is bound to run_id/k and has a claim of its own. A batch is drawn once: asked again with the same
-- run_id it answers with the same records, without those that are finished or held by others, and with no other.
-- Called by: the runner (Airflow's dynamic task mapping, draining a backlog), psql. Rules: next_answer.
create or replace function record_ledger.pass_valid_records(
    config jsonb,
    run_id text,
    record_limit integer,
    built jsonb default '[]',
    out exit_dag boolean,
    out verdict text,
    out reason text,
    out records jsonb,
    out to_build jsonb
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_variable
declare
    v_pipeline_id constant text := coalesce(
        config ->> 'pipeline_id', config #>> '{default_record,pipeline_id}'
    );
    v_was_drawn boolean;
    v_answer record;
    v_records jsonb[] := '{}';
    v_now timestamptz;
    p record_ledger.pipeline;
begin
    if record_limit between 1 and 10000 is not true then
        raise exception 'record_limit: % is no number of records',
            coalesce(record_limit::text, 'null')
            using errcode = 'RL005', hint = 'Give a whole number from 1 to 10000.';
    end if;
    records := '[]';
    to_build := '[]';
    begin
        select a.* into v_answer
        from record_ledger.store_new_and_pass_valid_record(
            config,
            case when record_ledger.is_run_id(run_id) then run_id || '/1' else run_id end,
            built
        ) as a;
        -- Looked for only now: the same call may have been made already, and that one was waited for above.
        v_was_drawn := exists (
            select
            from record_ledger.claim as c
            where c.pipeline_id = v_pipeline_id and c.bound_run_id = run_id || '/1'
                and c.claim_token is distinct from (v_answer.record ->> 'claim_token')::bigint
        );
        exit_dag := v_answer.exit_dag;
        verdict := v_answer.verdict;
        reason := v_answer.reason;
        if v_answer.to_build <> '[]' then
            to_build := record_ledger.batch_to_build(config, run_id, record_limit);
            reason := record_ledger.to_build_reason(to_build);
            return;
        end if;
        if exit_dag and not v_was_drawn then
            return;
        end if;
        if not exit_dag then
            v_records := array[v_answer.record];
        end if;

        -- The first pass took this lock already, unless it exited.
        p := record_ledger.lock_pipeline(v_pipeline_id);
        v_now := record_ledger.clock();
        for k in 2..record_limit loop
            exit when v_was_drawn and not exists (
                select
                from record_ledger.claim as c
                where c.pipeline_id = v_pipeline_id and c.bound_run_id = run_id || '/' || k
            );
            v_answer := record_ledger.pass_record(p, run_id || '/' || k, v_now, built);
            if not v_answer.exit_dag then
                v_records := v_records || v_answer.record;
            elsif v_answer.awaits_build then
                raise exception using errcode = 'RLBLD';
            elsif not v_was_drawn then
                exit;
            end if;
        end loop;
    exception
        -- A batch is drawn once: rather than a part of it, nothing is passed until all of it is built. What was sent is
        -- built by itself then, so that the next call asks for the rest.
        when sqlstate 'RLBLD' then
            p := record_ledger.register_config(config);
            v_now := record_ledger.clock();
            perform record_ledger.store_windows(p, built, v_now);
            perform record_ledger.build_records(p, built, v_now);
            to_build := record_ledger.batch_to_build(config, run_id, record_limit);
            exit_dag := true;
            verdict := 'INCOMPLETE';
            reason := record_ledger.to_build_reason(to_build);
            return;
    end;
    if cardinality(v_records) > 0 then
        exit_dag := false;
        verdict := 'READY';
        reason := format(
            '%s of at most %s records are passed%s',
            cardinality(v_records),
            record_limit,
            case when v_was_drawn then ' again' else '' end
        );
        records := to_jsonb(v_records);
    end if;
end
$$;
comment on function record_ledger.pass_valid_records(jsonb, text, integer, jsonb) is
'The whole cycle for up to record_limit records, the k-th bound to run_id/k: (exit_dag, verdict, reason, records, to_build).';
-- record_ledger.pause_pipeline: no record of the pipeline is passed until it is resumed.
-- Claims in progress go on and may end in any way; new windows are stored. Pausing again replaces the reason; a retired
-- pipeline stays retired.
-- Called by: operators, through the runner's command pause, the dbt macro of the same name, or psql.
-- Rules: none.
create or replace function record_ledger.pause_pipeline(pipeline_id text, reason text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    p record_ledger.pipeline;
    v_now timestamptz;
begin
    perform record_ledger.check_reason(reason);
    -- A pass that holds the pipeline goes first; whoever comes later sees it paused.
    p := record_ledger.lock_pipeline(pipeline_id);
    v_now := record_ledger.clock();
    update record_ledger.pipeline as q
    set paused_at = v_now, paused_by = session_user, pause_reason = reason, updated_at = v_now
    where q.pipeline_id = p.pipeline_id;
    perform record_ledger.append_pipeline_event(
        p.pipeline_id, 'paused', jsonb_build_object('reason', reason), v_now
    );
end
$$;
comment on function record_ledger.pause_pipeline(text, text) is
'Lets no record of a pipeline be passed until it is resumed; the reason is kept with who paused it and when.';
-- record_ledger.pipeline_time: reads an ISO 8601 time as people of a pipeline write it.
-- Without an offset it is the local time of the zone in force, a bare date its first instant, a time that clocks skip
-- the end of the gap. RL005 when the text is no time, or when clocks show it twice.
-- Called by: operators, through the runner and dbt; psql users who think in local time.
-- Rules: start_instant, twofold_time.
create or replace function record_ledger.pipeline_time(pipeline_id text, time_text text)
returns timestamptz
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_timezone text;
    v_instant timestamptz;
    v_problem text;
begin
    select p.timezone into v_timezone
    from record_ledger.pipeline as p
    where p.pipeline_id = pipeline_time.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(pipeline_id);
    end if;
    v_instant := record_ledger.start_instant(time_text, v_timezone);
    if v_instant is null then
        raise exception '% is no time', coalesce('"' || left(time_text, 80) || '"', 'null')
            using errcode = 'RL005',
            hint = 'Give ISO 8601 of the years 1900 to 9000, such as "2026-01-01" or '
                '"2026-01-01T06:00" (local time of the '
                'pipeline), or with an offset "2026-01-01T06:00+01:00".';
    end if;
    v_problem := record_ledger.twofold_time(time_text, v_timezone);
    if v_problem is not null then
        raise exception '%', v_problem
            using errcode = 'RL005', hint = 'Give the one that is meant, with its offset.';
    end if;
    return v_instant;
end
$$;
comment on function record_ledger.pipeline_time(text, text) is
'An ISO 8601 time as an instant: without an offset it is the pipeline''s local time, a bare date its first instant; RL005 when clocks show it twice.';
-- record_ledger.plan_runs: which windows the next runs of a pipeline will be passed, and when; a forecast, read only.
-- The rules of a pass played forward from an instant, with workers that ask whenever they are free, and runs that each
-- take run_duration (by default the median of the newest completed ones) and complete.
-- One row per run. Where fewer can be foreseen than were asked for, a last row without run_no says why.
-- Called by: plan and why of the runner, analysts. Rules: planned_passes, expected_duration,
-- shortened.
create or replace function record_ledger.plan_runs(
    pipeline_id text,
    runs integer default 10,
    at timestamptz default record_ledger.clock(),
    workers integer default 1,
    run_duration interval default null
)
returns table (
    run_no integer,
    window_start_time timestamptz,
    window_end_time timestamptz,
    target_day date,
    time_interval text,
    -- False while the run that is passed the window has yet to store it.
    is_stored boolean,
    stable_at timestamptz,
    -- Stable at the instant that is planned from.
    is_backlog boolean,
    starts_at timestamptz,
    ends_at timestamptz,
    generation integer,
    attempt integer,
    reason text,
    -- The first run at whose end no stable window waits any more.
    drains_backlog boolean
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
    p record_ledger.pipeline;
    v_from timestamptz := coalesce(plan_runs.at, record_ledger.clock());
    v_workers integer;
    v_duration interval := plan_runs.run_duration;
    v_problem text := case
        when plan_runs.runs between 1 and 10000 is not true
            then format('runs: %s is out of range; give 1 to 10000', coalesce(runs::text, 'null'))
        when plan_runs.workers between 1 and 1000 is not true
            then format(
                'workers: %s is out of range; give 1 to 1000', coalesce(workers::text, 'null')
            )
        when v_duration < interval '0' or v_duration > interval '30 days'
            then format('run_duration: %s is out of range; give 0 to 30 days', v_duration)
        when not isfinite(v_from)
            then format('at: %s is no instant', v_from)
    end;
begin
    if v_problem is not null then
        raise exception '%', v_problem using errcode = 'RL005';
    end if;
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = plan_runs.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(plan_runs.pipeline_id);
    end if;
    if p.paused_at is not null then
        reason := format(
            'no run is passed a record: the pipeline was %s by %s at %s: %s',
            case when p.is_retired then 'retired' else 'paused' end,
            p.paused_by,
            record_ledger.local_time(p.paused_at, p.timezone),
            record_ledger.shortened(p.pause_reason, 1000)
        );
        return next;
        return;
    end if;
    v_workers := least(plan_runs.workers, p.max_active_records);
    -- Without its day part, which would follow the session's time zone.
    v_duration := coalesce(
        make_interval(secs => extract(epoch from v_duration)::double precision),
        record_ledger.expected_duration(p.pipeline_id)
    );
    return query
    select
        s.run_no,
        s.window_start_time,
        s.window_end_time,
        coalesce(r.target_day, s.target_day),
        record_ledger.time_interval(s.window_start_time, s.window_end_time),
        case when s.run_no is not null then r.pipeline_id is not null end,
        s.window_end_time + p.x_time_back,
        record_ledger.is_stable(s.window_end_time, p.x_time_back, v_from),
        s.starts_at,
        s.starts_at + coalesce(v_duration, interval '0'),
        case when s.run_no is not null then coalesce(r.generation, 1) end,
        case when s.run_no is not null then coalesce(r.attempt, 0) + 1 end,
        concat_ws(
            '; ',
            case
                when s.run_no is null and s.blocked_by is null then format(
                    'no later run is passed a record: %s %s empty in the pipeline''s config, '
                    'so what becomes due is incomplete',
                    record_ledger.shortened(array_to_string(p.missing_fields, ', '), 1000),
                    case cardinality(p.missing_fields) when 1 then 'is' else 'are' end
                )
                when s.run_no is null then format(
                    'no later run is passed a record: all wait for window %s, '
                    'which no run will finish (depends_on_past)',
                    record_ledger.local_time(
                        s.blocked_by, record_ledger.window_timezone(p, s.blocked_by)
                    )
                )
                when s.waited_for is null and s.run_no <= v_workers then 'starts at once'
                when s.waited_for is null
                    then format('starts when run %s ends', s.run_no - v_workers)
                when s.starts_at = s.window_end_time + p.x_time_back
                    then 'starts when its data has settled'
                when s.starts_at = case r.status
                    when 'PENDING' then r.retry_at
                    when 'IN_PROGRESS' then record_ledger.retry_time(
                        r.lease_expires_at, r.attempt, r.window_end_time, p
                    )
                end then 'starts when its backoff is over'
                when s.waited_for = 'capacity'
                    then 'starts when a record in progress is done (max_active_records)'
                else 'starts when the windows before it are done (depends_on_past)'
            end,
            case when r.attempt > 0 then format(
                'attempt %s of %s%s', r.attempt + 1, p.max_attempts,
                case r.status
                    when 'IN_PROGRESS' then ', after the lease of the one before has run out'
                end
            ) end,
            case when s.is_shared then format(
                'the backfill_share gives the pass to a %s record',
                case when r.is_historical then 'historical' else 'live' end
            ) end,
            case when s.run_no is not null and v_duration is null
                then 'no completed run to measure, 0 s assumed' end
        ),
        s.drains_backlog
    from record_ledger.planned_passes(
        p, plan_runs.runs, v_from, v_workers, v_duration
    ) as s
    left join lateral (
        select q.*
        from record_ledger.record as q
        where q.pipeline_id = p.pipeline_id and q.window_start_time = s.window_start_time
        limit 1
    ) as r on true;
end
$$;
comment on function record_ledger.plan_runs(text, integer, timestamptz, integer, interval) is
'Which windows the next runs of a pipeline will be passed, and when, if each takes run_duration and completes; a forecast that writes nothing.';
-- record_ledger.raise_claim_lost: the one error for a claim token that is not current, with what became of the claim.
-- Raises RL004; RL002 for an unknown pipeline, RL005 when no token was given.
-- Called by: end_claim, extend_lease, lock_record, adopt_observations.
-- Rules: claim_loss.
create or replace function record_ledger.raise_claim_lost(
    pipeline_id text, claim_token bigint, window_start_time timestamptz default null
)
returns void
language plpgsql
as $$
begin
    raise exception 'claim lost: %',
        record_ledger.claim_loss(pipeline_id, claim_token, window_start_time)
        using errcode = 'RL004',
        hint = 'Stop working on this record: whoever holds its current token decides about it.';
end
$$;
comment on function record_ledger.raise_claim_lost(text, bigint, timestamptz) is
'Private. Raises RL004 and says what became of the claim.';
-- record_ledger.raise_no_record: the one error for a window that the ledger holds no record of.
-- Raises RL005, for one that was archived as well; RL002 for an unknown pipeline.
-- Called by: lock_record.
-- Rules: none.
create or replace function record_ledger.raise_no_record(
    pipeline_id text, window_start_time timestamptz
)
returns void
language plpgsql
as $$
#variable_conflict use_column
declare
    v_timezone text;
    v_holder timestamptz;
begin
    select p.timezone into v_timezone
    from record_ledger.pipeline as p
    where p.pipeline_id = raise_no_record.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(raise_no_record.pipeline_id);
    end if;
    if exists (
        select
        from record_ledger.archived_record as a
        where a.pipeline_id = raise_no_record.pipeline_id
            and a.window_start_time = raise_no_record.window_start_time
    ) then
        raise exception 'window_start_time: the record % of pipeline % is archived',
            record_ledger.local_time(raise_no_record.window_start_time, v_timezone),
            raise_no_record.pipeline_id
            using errcode = 'RL005', hint = 'Nothing is added to a record in the archive.';
    end if;
    select max(r.window_start_time) into v_holder
    from record_ledger.record as r
    where r.pipeline_id = raise_no_record.pipeline_id
        and r.window_start_time < raise_no_record.window_start_time
        and r.window_end_time > raise_no_record.window_start_time;
    raise exception 'window_start_time: pipeline % has no window that starts at %',
        raise_no_record.pipeline_id,
        case
            when isfinite(raise_no_record.window_start_time)
                then record_ledger.local_time(raise_no_record.window_start_time, v_timezone)
            else coalesce(raise_no_record.window_start_time::text, 'null')
        end
        using errcode = 'RL005',
        hint = coalesce(
            'The window that holds it starts at '
                || record_ledger.local_time(v_holder, v_timezone) || '.',
            'Give the start of a stored window: the view pipeline_records has them.'
        );
end
$$;
comment on function record_ledger.raise_no_record(text, timestamptz) is
'Private. Raises RL005 for a window that the ledger holds no record of.';
-- record_ledger.raise_unknown_pipeline: the one error for a pipeline that nobody registered.
-- Raises RL002 with near names, or RL005 when no name was given.
-- Called by: lock_pipeline, new_windows, pass_valid_record, oldest_pending_record, raise_claim_lost, range_effects,
-- pipeline_time, archivable_records, plan_runs.
-- Rules: near_names.
create or replace function record_ledger.raise_unknown_pipeline(pipeline_id text)
returns void
language plpgsql
as $$
declare
    v_near text[] := record_ledger.near_names(
        pipeline_id,
        array(
            select p.pipeline_id
            from record_ledger.pipeline as p
            order by p.pipeline_id
            limit 1000
        )
    );
begin
    if pipeline_id is null then
        raise exception 'pipeline_id: null is no pipeline; give the name of a registered one'
            using errcode = 'RL005';
    end if;
    raise exception 'unknown pipeline "%"', left(pipeline_id, 255)
        using errcode = 'RL002', hint = case cardinality(v_near)
            when 0 then
                'Register it first: register_pipeline(config), '
                'or store_new_and_pass_valid_record(config, run_id).'
            else 'Did you mean "' || array_to_string(v_near, '" or "') || '"?'
        end;
end
$$;
comment on function record_ledger.raise_unknown_pipeline(text) is
'Private. Raises RL002 for a pipeline that is not registered.';
-- record_ledger.range_effects: what an operation on a range would change, and what it would leave alone and why.
-- One row per effect, status and reason; reads only. operation: waive, reopen, expire, cancel or
-- backfill.
-- A backfill adds windows whatever to_time is; what is stored already in the range (all that comes, when it is null) is
-- left alone. So is whatever is archived: nothing changes it any more.
-- Called by: the runner's commands of these names, analysts. Rules: status_after, is_in_range, backfill_windows.
create or replace function record_ledger.range_effects(
    operation text, pipeline_id text, from_time timestamptz, to_time timestamptz default null
)
returns table (
    effect text,
    status text,
    reason text,
    record_count bigint,
    first_window_start_time timestamptz,
    last_window_end_time timestamptz
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    p record_ledger.pipeline;
    v_now constant timestamptz := record_ledger.clock();
    v_first_start timestamptz;
    v_is_backfill boolean := range_effects.operation = 'backfill';
    v_to_time timestamptz := coalesce(
        range_effects.to_time, case when v_is_backfill then timestamptz 'infinity' end
    );
begin
    if coalesce(
        range_effects.operation not in ('waive', 'reopen', 'expire', 'cancel', 'backfill'), true
    ) then
        raise exception 'operation: % is none of waive, reopen, expire, cancel and backfill',
            coalesce('"' || left(range_effects.operation, 80) || '"', 'null')
            using errcode = 'RL005', hint = 'Give the verb of the routine or command.';
    end if;
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = range_effects.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(range_effects.pipeline_id);
    end if;
    if v_is_backfill then
        v_first_start := record_ledger.check_backfill(p, range_effects.from_time);
        return query
        select
            'changed',
            'PENDING',
            case
                when w.is_lost
                    then 'is added, and its source data is gone: the next pass waives it as lost'
                else 'is added before the first window'
            end,
            count(*),
            min(w.window_start_time),
            max(w.window_end_time)
        from (
            select
                b.window_start_time,
                b.window_end_time,
                record_ledger.is_lost(b.window_end_time, p.source_retention, v_now) as is_lost
            from record_ledger.backfill_windows(p, range_effects.from_time, v_first_start) as b
        ) as w
        group by w.is_lost
        order by w.is_lost desc;
    end if;
    perform record_ledger.check_range(range_effects.from_time, v_to_time);

    return query
    select
        case when g.status_after is null then 'left alone' else 'changed' end,
        g.status,
        case
            when g.is_archived then 'is archived'
            when v_is_backfill then 'is stored already'
            when not g.is_whole then 'only a part of its window lies in the range'
            when g.status_after = 'WAIVED' then 'becomes WAIVED'
            when range_effects.operation = 'reopen' and g.status_after is not null
                then 'becomes PENDING, one generation later'
            when g.status_after = 'PENDING' then 'its claim ends; becomes PENDING after a backoff'
            when g.status_after = 'FAILED' and g.is_cancelled
                then 'its claim ends; becomes FAILED: it was cancelled'
            when g.status_after = 'FAILED' then 'its claim ends; becomes FAILED: no attempt is left'
            when g.status_after = 'IN_PROGRESS'
                then 'its claim is cancelled: the record fails when its run stops or its lease ends'
            when g.is_cancelled and range_effects.operation = 'cancel'
                then 'its claim is cancelled already'
            when range_effects.operation in ('expire', 'cancel') then 'no run holds it'
            when g.status = 'IN_PROGRESS' then 'a run holds it'
            when g.is_lost and g.status <> 'PENDING' and range_effects.operation = 'reopen'
                then 'its source data is gone (source_retention)'
            else 'is ' || g.status || ' already'
        end,
        sum(g.record_count)::bigint,
        min(g.first_start),
        max(g.last_end)
    from (
        select
            o.status,
            false as is_archived,
            o.is_whole,
            o.is_cancelled,
            o.is_lost,
            case
                when o.is_whole
                    then record_ledger.status_after(
                        range_effects.operation,
                        o.status,
                        o.has_attempts_left,
                        o.is_cancelled,
                        o.is_lost
                    )
            end as status_after,
            count(*) as record_count,
            min(o.window_start_time) as first_start,
            max(o.window_end_time) as last_end
        from (
            select
                r.status,
                r.window_start_time,
                r.window_end_time,
                r.attempt < p.max_attempts as has_attempts_left,
                r.cancellation is not null as is_cancelled,
                record_ledger.is_lost(r.window_end_time, p.source_retention, v_now) as is_lost,
                record_ledger.is_in_range(
                    r.window_start_time, r.window_end_time, range_effects.from_time, v_to_time
                ) as is_whole
            from record_ledger.record as r
            where r.pipeline_id = p.pipeline_id
                and r.window_end_time > range_effects.from_time
                and r.window_start_time < v_to_time
                -- From the window on that holds from_time: the primary key knows windows by their start.
                and r.window_start_time >= coalesce(
                    (
                        select max(f.window_start_time)
                        from record_ledger.record as f
                        where f.pipeline_id = p.pipeline_id
                            and f.window_start_time <= range_effects.from_time
                    ),
                    '-infinity'
                )
        ) as o
        group by 1, 2, 3, 4, 5, 6
        union all
        select
            a.status,
            true as is_archived,
            true as is_whole,
            false as is_cancelled,
            false as is_lost,
            null as status_after,
            count(*) as record_count,
            min(a.window_start_time) as first_start,
            max(a.window_end_time) as last_end
        from record_ledger.archived_record as a
        where a.pipeline_id = p.pipeline_id
            and a.window_end_time > range_effects.from_time
            and a.window_start_time < v_to_time
            and a.window_start_time >= coalesce(
                (
                    select f.window_start_time
                    from record_ledger.archived_record as f
                    where f.pipeline_id = p.pipeline_id
                        and f.window_start_time <= range_effects.from_time
                    order by f.window_start_time desc
                    limit 1
                ),
                '-infinity'
            )
        group by a.status
    ) as g
    group by 1, 2, 3
    order by 1, 5;
end
$$;
comment on function record_ledger.range_effects(text, text, timestamptz, timestamptz) is
'What waive, reopen, expire, cancel or backfill would change in a range, and what it would leave alone and why; reads only.';
-- record_ledger.range_in_steps: waives, reopens, expires, cancels or backfills records in steps, each committed.
-- For ranges of many records: runs of the pipeline get their turn between two steps, and no step holds its lock for
-- long. What stops it leaves a valid ledger; called again, it does the rest. changed_count says how many changed. A
-- notice tells every ten seconds how far it is. It commits, so it cannot be called in a transaction block.
-- Called by: operators, through psql. Rules: range_step.
create or replace procedure record_ledger.range_in_steps(
    operation text,
    pipeline_id text,
    from_time timestamptz,
    to_time timestamptz,
    reason text,
    inout changed_count bigint default 0
)
-- It runs with its caller's rights and path, or it could not commit: so every name in it is qualified.
language plpgsql
as $$
declare
    v_from_time pg_catalog.timestamptz := from_time;
    v_max_records integer := 1000;
    v_said_at pg_catalog.timestamptz := pg_catalog.clock_timestamp();
    v_changed bigint;
begin
    changed_count := 0;
    loop
        select s.changed_count, s.go_on_from, s.next_max_records
        into v_changed, v_from_time, v_max_records
        from record_ledger.range_step(
            operation, pipeline_id, v_from_time, to_time, reason, v_max_records
        ) as s;
        commit;
        changed_count := changed_count operator(pg_catalog.+) v_changed;
        exit when v_from_time is null;
        if pg_catalog.clock_timestamp()
            operator(pg_catalog.-) v_said_at
            operator(pg_catalog.>) interval '10 seconds'
        then
            v_said_at := pg_catalog.clock_timestamp();
            raise notice '% records changed so far', changed_count;
        end if;
    end loop;
end
$$;
comment on procedure record_ledger.range_in_steps(
    text, text, timestamptz, timestamptz, text, bigint
) is
'Waives, reopens, expires, cancels or backfills the records of a range in steps, each a transaction of its own; changed_count says how many changed.';
-- record_ledger.range_step: the first step of an operation on a range, short enough for runs to get their turn.
-- operation: waive, reopen, expire, cancel or backfill. Changes max_records at most, the oldest of the range first; a
-- backfill adds so many and 10,000 at most, the newest first, whatever to_time is. What it is called with again:
--   go_on_from         from_time of the next step; null when this was the last one
--   next_max_records   how many that one can change in 40 ms under the pipeline's lock, by what this one took
-- It walks over 10,000 records at most, so it may change none and not be the last. Each call is a transaction of its
-- own: what earlier steps did stays, and a step that is called twice changes only what is left.
-- Called by: range_in_steps, the runner's commands of these names, the dbt macros. Rules: change_range, backfill_range.
create or replace function record_ledger.range_step(
    operation text,
    pipeline_id text,
    from_time timestamptz,
    to_time timestamptz,
    reason text,
    max_records integer default 1000,
    out changed_count integer,
    out go_on_from timestamptz,
    out next_max_records integer
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    p record_ledger.pipeline;
    v_is_backfill boolean := range_step.operation = 'backfill';
    v_now timestamptz;
    v_locked_at timestamptz;
    v_walk_end timestamptz;
    v_end timestamptz;
    v_first_start timestamptz;
    v_milliseconds numeric;
begin
    if coalesce(
        range_step.operation not in ('waive', 'reopen', 'expire', 'cancel', 'backfill'), true
    ) then
        raise exception 'operation: % is not one of waive, reopen, expire, cancel and backfill',
            coalesce('"' || left(range_step.operation, 80) || '"', 'null')
            using errcode = 'RL005', hint = 'Give the verb of the routine or command.';
    end if;
    if coalesce(range_step.max_records < 1, true) then
        raise exception 'max_records: % is not a number of records',
            coalesce(range_step.max_records::text, 'null')
            using errcode = 'RL005', hint = 'Give 1 or greater, or leave it out.';
    end if;
    perform record_ledger.check_reason(range_step.reason, v_is_backfill);
    if not v_is_backfill then
        perform record_ledger.check_range(range_step.from_time, range_step.to_time);
        -- Before the lock: a stored window never moves.
        select r.window_start_time into v_walk_end
        from record_ledger.record as r
        where r.pipeline_id = range_step.pipeline_id
            and r.window_start_time >= range_step.from_time
            and r.window_start_time < range_step.to_time
        order by r.window_start_time
        offset 10000
        limit 1;
    end if;

    -- A pass could otherwise hand out the very record that is being changed.
    p := record_ledger.lock_pipeline(range_step.pipeline_id);
    -- Not clock(): this is about how long others wait, whatever time it is in the ledger.
    v_locked_at := clock_timestamp();
    v_now := record_ledger.clock();
    if v_is_backfill then
        v_first_start := record_ledger.check_backfill(p, range_step.from_time);
        changed_count := 0;
        if v_first_start > range_step.from_time then
            select b.added_count, b.first_start into changed_count, v_first_start
            from record_ledger.backfill_range(
                p,
                range_step.from_time,
                range_step.reason,
                range_step.max_records,
                v_now,
                v_first_start
            ) as b;
            go_on_from := record_ledger.day_start(
                record_ledger.local_day(range_step.from_time, p.timezone), p.timezone
            );
            if v_first_start <= go_on_from then
                go_on_from := null;
            end if;
        end if;
    else
        -- The step ends before the first record that is one too many.
        select r.window_start_time into v_end
        from record_ledger.record as r
        where r.pipeline_id = p.pipeline_id
            and record_ledger.is_in_range(
                r.window_start_time,
                r.window_end_time,
                range_step.from_time,
                least(v_walk_end, range_step.to_time)
            )
            and record_ledger.status_after(
                range_step.operation,
                r.status,
                r.attempt < p.max_attempts,
                r.cancellation is not null,
                record_ledger.is_lost(r.window_end_time, p.source_retention, v_now)
            ) is not null
        order by r.window_start_time
        offset range_step.max_records
        limit 1;
        go_on_from := coalesce(v_end, v_walk_end);
        changed_count := record_ledger.change_range(
            range_step.operation,
            p,
            range_step.from_time,
            coalesce(go_on_from, range_step.to_time),
            range_step.reason,
            v_now
        );
    end if;

    next_max_records := range_step.max_records;
    -- A step that changed few says nothing about how long many take.
    if changed_count >= range_step.max_records / 4 then
        v_milliseconds := greatest(1, extract(epoch from clock_timestamp() - v_locked_at) * 1000);
        next_max_records := least(
            greatest(100, changed_count * 40 / v_milliseconds),
            -- No leap: the next records may be dearer ones.
            range_step.max_records * 2::bigint,
            10000
        );
    end if;
end
$$;
comment on function record_ledger.range_step(
    text, text, timestamptz, timestamptz, text, integer
) is
'The first step of waive, reopen, expire, cancel or backfill on a range: how many records it changed, where the next step begins, and how many it may change.';
-- record_ledger.recount_due: which windows of a pipeline should have their source counted again, longest due first.
-- A completed record, at each age of recount_ages since the count that its generation stands on, until a count of its
-- source has been noted at that age or later. Several missed ages are one count. Not when its source data is gone, nor
-- when twice the last age has passed: what nobody counted by then is let go. A retired pipeline has none.
-- Called by: recount-due of the runner, any task that counts and calls observe_record. Rules: loaded_count, is_lost.
create or replace function record_ledger.recount_due(pipeline_id text)
returns table (
    window_start_time timestamptz,
    window_end_time timestamptz,
    target_day date,
    generation integer,
    -- The count that the generation stands on, and when it was noted.
    loaded_count bigint,
    counted_at timestamptz,
    -- The newest age that has been reached, and when it was.
    recount_age interval,
    due_at timestamptz
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := record_ledger.clock();
    p record_ledger.pipeline;
begin
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = recount_due.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(recount_due.pipeline_id);
    end if;
    return query
    select
        r.window_start_time,
        r.window_end_time,
        r.target_day,
        r.generation,
        l.row_count,
        l.observed_at,
        a.age,
        l.observed_at + a.age
    from record_ledger.record_observation as o
    join record_ledger.record as r
        on r.pipeline_id = o.pipeline_id and r.window_start_time = o.window_start_time
    cross join lateral record_ledger.loaded_count(
        r.pipeline_id, r.window_start_time, r.generation
    ) as l
    cross join lateral (
        select max(s.age) as age
        from unnest(p.recount_ages) as s (age)
        where l.observed_at + s.age <= v_now
    ) as a
    where o.pipeline_id = p.pipeline_id
        and o.stage = 'source'
        and o.changed_by is null
        and not p.is_retired
        -- What is adopted is younger than the count that it takes over.
        and o.observed_at > v_now - 2 * p.recount_ages[cardinality(p.recount_ages)]
        and (o.observed_at <= v_now - p.recount_ages[1] or o.adopted_no is not null)
        and l.observed_at > v_now - 2 * p.recount_ages[cardinality(p.recount_ages)]
        and r.status = 'COMPLETED'
        -- Each record once, by the count that it stands on.
        and o.observation_no = l.observation_no
        and a.age is not null
        and not record_ledger.is_lost(r.window_end_time, p.source_retention, v_now)
        and not exists (
            select
            from record_ledger.record_observation as n
            where n.pipeline_id = r.pipeline_id
                and n.window_start_time = r.window_start_time
                and n.generation = r.generation
                and n.changed_by is not null
                and n.observed_at >= l.observed_at + a.age
        )
    order by 8, 1;
end
$$;
comment on function record_ledger.recount_due(text) is
'The completed windows of a pipeline whose source should be counted again by now, longest due first.';
-- record_ledger.refuse_call: the errors for a call that no routine can serve, whatever the state of the ledger.
-- Raises RL005 for a wrong isolation level, for a session whose triggers do not fire, else for a run id that cannot be
-- bound.
-- Called by: every routine that takes a lock.
-- Rules: is_safe_to_write, is_run_id.
create or replace function record_ledger.refuse_call(run_id text default null)
returns void
language plpgsql
as $$
begin
    if current_setting('session_replication_role') = 'replica' then
        raise exception
            'the ledger cannot be changed in a session with session_replication_role = replica'
            using errcode = 'RL005',
            hint = 'Its triggers keep the state machine and the history, and would not fire: '
                'set session_replication_role to origin.';
    end if;
    if not record_ledger.is_safe_to_write() then
        raise exception 'the ledger cannot be changed in a transaction of isolation level %',
            current_setting('transaction_isolation')
            using errcode = 'RL005',
            hint = 'Call it in a READ COMMITTED transaction, best in one of its own.';
    end if;
    raise exception
        'run_id: "%" is no run id; give a text of 1 to 1024 bytes, or null to bind nothing',
        left(run_id, 80)
        using errcode = 'RL005';
end
$$;
comment on function record_ledger.refuse_call(text) is
'Private. Raises RL005 for a call in a wrong isolation level, without triggers, or with an impossible run id.';
-- record_ledger.refuse_token: the error for a claim token of 2^53 or more, which many callers would read as another.
-- Raises RL005 and says whether the clock asks for it or an earlier claim.
-- Called by: pass_record.
-- Rules: none.
create or replace function record_ledger.refuse_token(
    pipeline_id text, newest_token bigint, as_of timestamptz
)
returns void
language plpgsql
as $$
begin
    if as_of >= timestamptz '2094-09-07T15:47:35.552Z' then
        raise exception
            'the ledger''s clock is at %: claim tokens are drawn for times before 2094-09-07',
            record_ledger.iso_time(as_of)
            using errcode = 'RL005',
            hint = 'Nothing was passed. Set the clock of the database server.';
    end if;
    raise exception 'pipeline %: no claim token is left after %, the newest one',
        pipeline_id, newest_token
        using errcode = 'RL005',
        hint = 'Nothing was passed. Tokens stay below 2^53, and this one is of a clock that was '
            'set to 2094: restore the ledger from before, or register the pipeline under '
            'another name.';
end
$$;
comment on function record_ledger.refuse_token(text, bigint, timestamptz) is
'Private. Raises RL005 where the next claim token would be 2^53 or more.';
-- record_ledger.register_config: makes a config the one in force, and leaves its pipeline's row locked.
-- Writes nothing when one of the same meaning is in force already; validates only what is new. No record is touched:
-- the pipeline's fields_version says which are outdated, and the pass of each builds it.
-- Called by: register_pipeline, register_store_and_pass.
-- Rules: is_same_config, configured, check_owner.
create or replace function record_ledger.register_config(config jsonb)
returns record_ledger.pipeline
language plpgsql
as $$
declare
    v_now timestamptz;
    v_returned_version integer;
    v_returns bigint;
    v_old record_ledger.pipeline;
    p record_ledger.pipeline;
begin
    select q.* into v_old
    from record_ledger.pipeline as q
    where q.pipeline_id = coalesce(
        register_config.config ->> 'pipeline_id',
        register_config.config #>> '{default_record,pipeline_id}'
    )
    for no key update;
    if v_old.owner_role is not null then
        perform record_ledger.check_owner(v_old.pipeline_id, v_old.owner_role);
    end if;
    if v_old.config = register_config.config
        or record_ledger.is_same_config(v_old, register_config.config)
    then
        return v_old;
    end if;

    p := record_ledger.configured(v_old, register_config.config);
    v_now := record_ledger.clock();
    p.updated_at := v_now;
    if v_old.pipeline_id is null then
        p.created_at := v_now;
        insert into record_ledger.pipeline values (p.*) on conflict do nothing;
        if not found then
            -- Another call registered the pipeline meanwhile: its row is there now, and is compared like any other.
            return record_ledger.register_config(register_config.config);
        end if;
        perform record_ledger.append_pipeline_event(
            p.pipeline_id,
            'registered',
            jsonb_build_object('config_version', 1, 'config', p.config),
            v_now
        );
        return p;
    end if;

    update record_ledger.pipeline as q
    set config = p.config,
        config_version = p.config_version,
        fields_version = p.fields_version,
        missing_fields = p.missing_fields,
        filled_from = p.filled_from,
        timezone = p.timezone,
        zone_since = case when q.timezone = p.timezone then q.zone_since end,
        x_time_back = p.x_time_back,
        granularity = p.granularity,
        fields = p.fields,
        has_templates = p.has_templates,
        check_fields = p.check_fields,
        start_at = p.start_at,
        max_active_records = p.max_active_records,
        depends_on_past = p.depends_on_past,
        lease = p.lease,
        max_attempts = p.max_attempts,
        retry_delay = p.retry_delay,
        backfill_share = p.backfill_share,
        required_counts = p.required_counts,
        source_retention = p.source_retention,
        at_risk_within = p.at_risk_within,
        pass_order = p.pass_order,
        recount_ages = p.recount_ages,
        reopen_budget = p.reopen_budget,
        updated_at = p.updated_at
    where q.pipeline_id = p.pipeline_id
    returning q.* into p;

    -- A config that was there before is named, not repeated: two deployments in turn would write it in each call.
    select (e.detail ->> 'config_version')::integer into v_returned_version
    from record_ledger.pipeline_event as e
    where e.pipeline_id = p.pipeline_id
        and e.detail ->> 'config' is not null
        and hashtextextended(e.detail ->> 'config', 0) = hashtextextended(p.config::text, 0)
        and e.detail ->> 'config' = p.config::text
    order by e.event_no desc
    limit 1;
    perform record_ledger.append_pipeline_event(
        p.pipeline_id,
        'reconfigured',
        jsonb_build_object('config_version', p.config_version) || case
            when v_returned_version is not null
                then jsonb_build_object('same_config_as_version', v_returned_version)
            else jsonb_build_object('config', p.config)
        end,
        v_now
    );
    if v_returned_version is not null then
        select count(*) into v_returns
        from record_ledger.pipeline_event as e
        where e.pipeline_id = p.pipeline_id
            and e.detail ->> 'same_config_as_version' is not null
            and e.event_time > v_now - interval '1 hour';
        if v_returns > 1 then
            raise warning
                'pipeline %: configs take turns: version % is version % again, '
                'and % configs have returned within an hour',
                p.pipeline_id, p.config_version, v_returned_version, v_returns
                using hint = 'Two deployments register the same pipeline with different configs: '
                    'stop one of them, or give it a pipeline_id of its own.';
        end if;
    end if;

    -- What is in progress may have been passed when no counts were asked for. Whoever is completing it right now comes
    -- first.
    if p.required_counts is not null then
        update record_ledger.record as r
        set needs_counts = true
        where r.open_pipeline_id = p.pipeline_id and r.lane = 'active' and not r.needs_counts;
    end if;
    return p;
end
$$;
comment on function record_ledger.register_config(jsonb) is
'Private. Makes a config the one in force (RL001 when it is invalid) and leaves its pipeline locked.';
-- record_ledger.register_pipeline: validates a config and makes it the one in force; returns the pipeline_id.
-- Inserts or updates; writes nothing when one of the same meaning is in force. All problems come in one error, RL001.
-- Called by: build_complete_pipeline_record and validate_record_timing of the runner, psql users.
-- Rules: is_same_config, configured, check_owner.
create or replace function record_ledger.register_pipeline(config jsonb)
returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    p record_ledger.pipeline;
begin
    if not record_ledger.is_safe_to_write() then
        perform record_ledger.refuse_call();
    end if;
    perform record_ledger.warn_of_misspelt_keys(config);
    -- A first look without the lock: taking one writes, and most calls change nothing.
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = coalesce(
        register_pipeline.config ->> 'pipeline_id',
        register_pipeline.config #>> '{default_record,pipeline_id}'
    );
    if found and record_ledger.is_same_config(p, config) then
        perform record_ledger.check_owner(p.pipeline_id, p.owner_role);
        perform record_ledger.note_start_at(p, config);
        return p.pipeline_id;
    end if;
    return (
        record_ledger.register_config((record_ledger.configured(p, config)).config)
    ).pipeline_id;
end
$$;
comment on function record_ledger.register_pipeline(jsonb) is
'Validates a config and makes it the pipeline''s config in force; returns the pipeline_id. RL001 lists all problems.';
-- record_ledger.register_store_and_pass: the whole cycle for a call of any kind; what a usual call is spared is here.
-- Registers the config, stores the due windows, collects expired leases and passes the oldest valid record to the run.
-- Called by: store_new_and_pass_valid_record, with its settings.
-- Rules: is_same_config, configured, next_answer, register_config, store_windows, pass_record.
create or replace function record_ledger.register_store_and_pass(
    config jsonb,
    run_id text,
    built jsonb,
    out exit_dag boolean,
    out verdict text,
    out reason text,
    out record jsonb,
    out to_build jsonb
)
language plpgsql
as $$
#variable_conflict use_column
declare
    v_config jsonb := config;
    v_config_is_new boolean := false;
    v_problem text;
    v_is_due boolean;
    v_now timestamptz;
    v_next_start timestamptz;
    v_stored integer;
    v_answer record;
    p record_ledger.pipeline;
begin
    if not (
        record_ledger.is_safe_to_write()
        and record_ledger.is_run_id(register_store_and_pass.run_id)
    ) then
        perform record_ledger.refuse_call(register_store_and_pass.run_id);
    end if;
    to_build := '[]';
    -- A config that is in force was validated before: comparing it is all that most calls do.
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = coalesce(
        register_store_and_pass.config ->> 'pipeline_id',
        register_store_and_pass.config #>> '{default_record,pipeline_id}'
    );
    if p.config is distinct from config then
        perform record_ledger.warn_of_misspelt_keys(config);
        if record_ledger.is_same_config(p, config) then
            perform record_ledger.note_start_at(p, config);
        else
            v_config_is_new := true;
            p := record_ledger.configured(p, config);
        end if;
        -- In the words that were first given, or those that are stored now.
        v_config := p.config;
    end if;

    -- Before any answer: others are not told either when its next window is due.
    if p.owner_role is not null then
        perform record_ledger.check_owner(p.pipeline_id, p.owner_role);
    end if;
    v_now := record_ledger.clock();
    if built is distinct from '[]' then
        v_problem := record_ledger.built_problem(built, p);
        if v_problem is not null then
            raise exception '%', v_problem
                using errcode = 'RL005',
                hint = 'Send back what to_build names. '
                    'A runner of an older release names less: upgrade it.';
        end if;
    else
        select l.window_end_time into v_next_start
        from record_ledger.last_window(p.pipeline_id) as l;
        v_is_due := coalesce(v_next_start, record_ledger.first_window_start(p, v_now))
            < v_now - p.x_time_back
            and not p.is_retired;
        -- A first look without the lock: an idle pipeline may be asked every minute, and its answer costs no write.
        if p.has_templates or not v_config_is_new and not v_is_due then
            v_answer := record_ledger.next_answer(
                p, register_store_and_pass.run_id, v_now
            );
            if p.has_templates
                and (v_answer.is_outdated or v_is_due and v_answer.bound_window is null)
            then
                -- Nothing is written before the caller could render everything: a template that fails leaves no trace.
                to_build := record_ledger.windows_to_build(
                    p,
                    case when v_answer.is_outdated then v_answer.window_start_time end,
                    v_answer.bound_window is not null,
                    v_answer.waiting_mark,
                    10,
                    v_now
                );
                exit_dag := true;
                verdict := 'INCOMPLETE';
                reason := record_ledger.to_build_reason(to_build);
                return;
            end if;
            if v_answer.verdict <> 'READY'
                and not v_config_is_new
                and not v_answer.has_expired
                and v_answer.lost_before is null
            then
                exit_dag := true;
                verdict := v_answer.verdict;
                reason := v_answer.reason;
                return;
            end if;
        end if;
    end if;

    p := record_ledger.register_config(v_config);
    -- Taken once, after the lock: whatever waited for it judges by the time at which it goes on.
    v_now := record_ledger.clock();
    -- What became due since the caller rendered is left to the next call, which has it rendered.
    v_stored := record_ledger.store_windows(
        p, case when p.has_templates or built <> '[]' then built end, v_now
    );
    if p.missing_fields is not null then
        -- A window that the caller filled may have been stored.
        select q.filled_from into p.filled_from
        from record_ledger.pipeline as q
        where q.pipeline_id = p.pipeline_id;
    end if;
    v_answer := record_ledger.pass_record(
        p, register_store_and_pass.run_id, v_now, built
    );
    exit_dag := v_answer.exit_dag;
    verdict := v_answer.verdict;
    reason := v_answer.reason;
    record := v_answer.record;
    if exit_dag and p.has_templates and (v_answer.awaits_build or built <> '[]') then
        -- Another config was registered meanwhile, or other runs were passed what was rendered: asked for again.
        v_answer := record_ledger.next_answer(p, register_store_and_pass.run_id, v_now);
        to_build := record_ledger.windows_to_build(
            p,
            case when v_answer.is_outdated then v_answer.window_start_time end,
            v_answer.bound_window is not null,
            v_answer.waiting_mark,
            10,
            v_now
        );
        if to_build <> '[]' then
            verdict := 'INCOMPLETE';
            reason := record_ledger.to_build_reason(to_build);
        end if;
    end if;
end
$$;
comment on function record_ledger.register_store_and_pass(jsonb, text, jsonb) is
'Private. The whole cycle for a call of any kind: register, store, collect expired leases, pass.';
-- record_ledger.release_record: gives a passed record back untouched; the attempt is not counted.
-- Pending again immediately, or with not_before passed to no run before that instant, this one included. A cancelled
-- claim ends as FAILED instead. Needs the current claim token, and when a window is named, that of the claim (RL004
-- else); repeating it changes nothing.
-- Called by: a run that was stopped before it began, or that finds that its source is not ready.
-- Rules: end_claim, iso_time.
create or replace function record_ledger.release_record(
    pipeline_id text,
    claim_token bigint,
    not_before timestamptz default null,
    window_start_time timestamptz default null
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
    if release_record.not_before = 'infinity' then
        raise exception 'not_before: infinity is not a valid time; no run would ever be passed it'
            using errcode = 'RL005',
            hint = 'Give an instant. To keep a record from all runs, waive it.';
    end if;
    -- A time that a client cannot read would break the overview of all pipelines.
    if release_record.not_before >= timestamptz '9001-01-01 00:00:00+00' then
        raise exception 'not_before: % is not a valid time; give one before the year 9001',
            record_ledger.iso_time(release_record.not_before)
            using errcode = 'RL005';
    end if;
    perform record_ledger.end_claim(
        pipeline_id, claim_token, window_start_time, 'released', '{}', not_before => not_before
    );
end
$$;
comment on function record_ledger.release_record(text, bigint, timestamptz, timestamptz) is
'Gives a passed record back untouched: PENDING, the attempt not counted, and passed to no run before not_before. RL004 unless the claim token is current.';
-- record_ledger.reopen_changed_records: reopens completed records whose source has changed beyond the tolerance.
-- Oldest first, no more than the reopen_budget in one local day of the pipeline: the rest waits for the next day, in
-- changed_records. A record whose source data is gone is left alone. Returns how many it reopened.
-- Called by: a daily task, reopen-changed of the runner, the dbt macro of the same name, psql.
-- Rules: changed_records, reopen_range, local_day.
create or replace function record_ledger.reopen_changed_records(pipeline_id text)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    -- Two calls would otherwise spend the budget twice, and a pass judge by what was open before.
    p record_ledger.pipeline := record_ledger.lock_pipeline(reopen_changed_records.pipeline_id);
    v_now timestamptz := record_ledger.clock();
    v_left integer;
    v_changed record;
    v_reopened integer := 0;
begin
    select p.reopen_budget - coalesce(sum((e.detail ->> 'count')::integer), 0) into v_left
    from record_ledger.pipeline_event as e
    where e.pipeline_id = p.pipeline_id
        and e.event = 'changed_reopened'
        and record_ledger.local_day(e.event_time, p.timezone)
            = record_ledger.local_day(v_now, p.timezone);
    for v_changed in
        select c.*
        from record_ledger.changed_records as c
        where c.pipeline_id = p.pipeline_id and c.is_beyond_tolerance
        order by c.window_start_time
    loop
        exit when v_reopened >= v_left;
        v_reopened := v_reopened + record_ledger.reopen_range(
            p,
            v_changed.window_start_time,
            v_changed.window_end_time,
            jsonb_build_object(
                'reason', format(
                    'the source has changed: %s rows were loaded, and %s counted at %s',
                    v_changed.loaded_count,
                    v_changed.source_count,
                    record_ledger.local_time(v_changed.observed_at, p.timezone)
                ),
                'changed_by', v_changed.changed_by
            ),
            v_now
        );
    end loop;
    if v_reopened > 0 then
        perform record_ledger.append_pipeline_event(
            p.pipeline_id,
            'changed_reopened',
            jsonb_build_object('count', v_reopened),
            v_now
        );
    end if;
    return v_reopened;
end
$$;
comment on function record_ledger.reopen_changed_records(text) is
'Reopens completed records whose source has changed beyond the tolerance, oldest first, within the day''s reopen_budget; returns how many.';
-- record_ledger.reopen_range: makes the records of a range of a locked pipeline pending once more; returns how many.
-- Those whose whole window lies in it and that status_after lets be reopened; others are left alone.
-- Called by: change_range, reopen_changed_records.
-- Rules: status_after, is_in_range, is_lost, void_marks; check_record_change guards the change.
create or replace function record_ledger.reopen_range(
    p record_ledger.pipeline,
    from_time timestamptz,
    to_time timestamptz,
    detail jsonb,
    as_of timestamptz
)
returns integer
language plpgsql
as $$
declare
    v_changed integer;
begin
    -- Once for all of them, below: check_record_change would do it for each.
    perform set_config('record_ledger.voids_marks', 'on', true);
    update record_ledger.record as r
    set generation = r.generation + 1,
        attempt = 0,
        claim_token = null,
        run_id = null,
        retry_at = null,
        last_event = 'reopened',
        last_detail = detail,
        updated_at = as_of
    where r.pipeline_id = p.pipeline_id
        and record_ledger.is_in_range(r.window_start_time, r.window_end_time, from_time, to_time)
        and record_ledger.status_after(
            'reopen',
            r.status,
            r.attempt < p.max_attempts,
            r.cancellation is not null,
            record_ledger.is_lost(r.window_end_time, p.source_retention, as_of)
        ) is not null;
    get diagnostics v_changed = row_count;
    perform set_config('record_ledger.voids_marks', 'off', true);
    perform record_ledger.void_marks(p.pipeline_id);
    return v_changed;
end
$$;
comment on function record_ledger.reopen_range(
    record_ledger.pipeline, timestamptz, timestamptz, jsonb, timestamptz
) is
'Private. Makes the finished and failed records of a range of a locked pipeline pending once more; returns how many.';
-- record_ledger.reopen_records: makes the finished and failed records of a range pending once more.
-- Those whose whole window lies in [from_time, to_time); others are left alone. Returns how many changed. A new
-- generation begins with no attempt made; what earlier ones did stays in record_events, and runs stay bound.
-- Called by: operators, through the runner's command reopen, the dbt macro of the same name, or psql.
-- Rules: change_range.
create or replace function record_ledger.reopen_records(
    pipeline_id text, from_time timestamptz, to_time timestamptz, reason text
)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    p record_ledger.pipeline;
begin
    perform record_ledger.check_reason(reason);
    perform record_ledger.check_range(from_time, to_time);
    -- A pass would otherwise judge by what was open before, and another operator reopen a record twice.
    p := record_ledger.lock_pipeline(pipeline_id);
    return record_ledger.change_range(
        'reopen', p, from_time, to_time, reason, record_ledger.clock()
    );
end
$$;
comment on function record_ledger.reopen_records(text, timestamptz, timestamptz, text) is
'Makes the completed, failed and waived records whose whole window lies in a range PENDING once more, with a reason; returns how many.';
-- record_ledger.resume_pipeline: lets a paused or retired pipeline run again; returns whether it was one.
-- What is neither paused nor retired stays as it is, and nothing is noted.
-- Called by: operators, through the runner's command resume, the dbt macro of the same name, or psql.
-- Rules: none.
create or replace function record_ledger.resume_pipeline(
    pipeline_id text, reason text default null
)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    -- Another operator may be pausing it: the later one of the two has the last word.
    p record_ledger.pipeline := record_ledger.lock_pipeline(pipeline_id);
    v_now timestamptz := record_ledger.clock();
begin
    perform record_ledger.check_reason(resume_pipeline.reason, true);
    if p.paused_at is null then
        return false;
    end if;
    update record_ledger.pipeline as q
    set is_retired = false,
        paused_at = null,
        paused_by = null,
        pause_reason = null,
        updated_at = v_now
    where q.pipeline_id = p.pipeline_id;
    perform record_ledger.append_pipeline_event(
        p.pipeline_id,
        'resumed',
        jsonb_strip_nulls(
            jsonb_build_object('reason', reason, 'was_retired', p.is_retired)
        ),
        v_now
    );
    return true;
end
$$;
comment on function record_ledger.resume_pipeline(text, text) is
'Lets a paused or retired pipeline run again; returns whether it was one.';
-- record_ledger.retire_pipeline: pauses a pipeline for good; no window is stored any more, and no status speaks of it.
-- Its history stays, and claims in progress may end in any way. Retiring again replaces the reason.
-- Called by: operators, through the runner's command retire, the dbt macro of the same name, or psql.
-- Rules: none.
create or replace function record_ledger.retire_pipeline(pipeline_id text, reason text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    p record_ledger.pipeline;
    v_now timestamptz;
begin
    perform record_ledger.check_reason(reason);
    -- A pass that holds the pipeline goes first; whoever comes later sees it retired.
    p := record_ledger.lock_pipeline(pipeline_id);
    v_now := record_ledger.clock();
    update record_ledger.pipeline as q
    set is_retired = true,
        paused_at = v_now,
        paused_by = session_user,
        pause_reason = reason,
        updated_at = v_now
    where q.pipeline_id = p.pipeline_id;
    perform record_ledger.append_pipeline_event(
        p.pipeline_id, 'retired', jsonb_build_object('reason', reason), v_now
    );
end
$$;
comment on function record_ledger.retire_pipeline(text, text) is
'Pauses a pipeline for good: nothing is stored or passed any more and no status speaks of it, but its history stays.';
-- record_ledger.set_pipeline_owner: gives a pipeline to a role; from then on only its members act in it.
-- They register its config, are passed its records, end their claims, count, and operate; all others may only read.
-- null gives it back to all runners. Returns whether that changed anything. Who registered a pipeline may take it for a
-- role, members of its owner may give it away, each to a role that they are members of; owners of the ledger may do all
-- of it.
-- Called by: teams that share a ledger, through the runner's command set-owner, or psql.
-- Rules: may_act, is_ledger_owner.
create or replace function record_ledger.set_pipeline_owner(pipeline_id text, role text)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    -- A claim that is being ended goes first, or is judged by the new owner. Refuses who may not act in it today.
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
            hint = 'Who registered a pipeline may give it to a role; so may the ledger''s owner.';
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
    -- Completing looks at the pipeline only where the record says that there is something to look at.
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
'Gives a pipeline to a role, whose members alone act in it from then on; null gives it back to all runners. Returns whether that is new.';
-- record_ledger.store_new_and_pass_valid_record: the whole cycle in one statement and one commit.
-- Registers the config, stores the due windows, collects expired leases and passes the oldest valid record to the run.
-- A config with templates is answered with to_build until the caller has rendered them and sends them back as built.
-- Most calls are alike: a config in force that asks for nothing special, and nothing open but records that wait in
-- order. Such a call costs what a session sets up for it: statements, look-ups, expressions. It is made of the fewest
-- here. Whatever is otherwise goes the long way, which begins anew.
-- Called by: store_new_and_pass_valid_record of the runner.
-- Rules: first_look, first_open, is_within_day, next_claim_token, next_lease_mark, passed_reason, unstable_reason,
-- due_reason; register_store_and_pass is the long way.
create or replace function record_ledger.store_new_and_pass_valid_record(
    config jsonb,
    run_id text,
    built jsonb default '[]',
    out exit_dag boolean,
    out verdict text,
    out reason text,
    out record jsonb,
    out to_build jsonb
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
-- Ends the effect of set_config below with this function: a caller's session keeps its time zone.
set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
    v_now timestamptz;
    v_next_start timestamptz;
    v_pipeline_id text;
    v_row_version xid;
    v_x_time_back interval;
    v_granularity interval;
    v_zone_since timestamptz;
    v_marks_void_at bigint;
    v_timezone text;
    v_horizon timestamptz;
    -- The newest record of a pipeline that is on time starts after it.
    v_reach timestamptz;
    v_newest_start timestamptz;
    v_newest_end timestamptz;
    v_bound_window timestamptz;
    -- Of the pipeline's newest claim; while it is not known, 0, -1 or null.
    v_newest_token bigint;
    v_credit numeric;
    v_waiting_mark timestamptz;
    v_active_mark timestamptz;
    v_lease_mark timestamptz;
    v_others_seen_at timestamptz;
    -- The first record that waits in order.
    v_first_start timestamptz;
    v_first_end timestamptz;
    v_bounds timestamptz[];
    v_is_first boolean;
    v_first_lane text;
    v_first_active timestamptz;
    v_other_lane text;
    v_has_passed boolean;
    v_wall timestamp;
    v_token bigint;
    v_attempt integer;
    s record;
begin
    v_now := record_ledger.clock();
    v_pipeline_id := case
        when record_ledger.is_safe_to_write()
            and record_ledger.is_run_id(store_new_and_pass_valid_record.run_id)
            and built = '[]'
            then coalesce(
                config ->> 'pipeline_id', config #>> '{default_record,pipeline_id}'
            )
    end;
    select
        '[]',
        q.xmin,
        q.x_time_back,
        v_now - q.x_time_back,
        v_now - q.x_time_back - q.granularity * 2,
        q.granularity,
        q.zone_since,
        coalesce(q.marks_void_at, 0),
        set_config('timezone', q.timezone, true)
    into
        to_build,
        v_row_version,
        v_x_time_back,
        v_horizon,
        v_reach,
        v_granularity,
        v_zone_since,
        v_marks_void_at,
        v_timezone
    from record_ledger.pipeline as q
    where q.pipeline_id = v_pipeline_id
        and q.config = store_new_and_pass_valid_record.config
        and not q.has_templates
        and q.missing_fields is null
        and q.filled_from is null
        and q.paused_at is null
        and q.owner_role is null
        and q.source_retention is null
        and q.max_active_records is null
        and not q.depends_on_past;
    <<usual>>
    loop
        if v_zone_since is null then
            -- Nothing is stored, or nothing with this zone.
            select q.start_at into v_next_start
            from record_ledger.pipeline as q
            where q.pipeline_id = v_pipeline_id and q.xmin = v_row_version;
            exit usual when v_next_start >= v_horizon is not true
                or exists (select from record_ledger.last_window(v_pipeline_id));
            exit_dag := true;
            verdict := 'NO_RECORDS';
            reason := record_ledger.due_reason(v_next_start, v_x_time_back);
            return;
        end if;
        -- The newest record, which waits as a rule, and what the one before it tells: 0 that it waits, too; the token
        -- of its claim that nothing else is open and the newest one comes next; -1 that no other one waits in order.
        select
            true,
            'UNSTABLE',
            w.window_start_time,
            w.window_end_time,
            case when w.lane = 'waiting' and w.window_start_time >= v_zone_since then (
                select case
                        when r.lane = 'waiting' then 0
                        when r.lane is null and r.is_alone and r.claim_token > v_marks_void_at
                            then r.claim_token
                        when r.is_first then -1
                    end
                from record_ledger.record as r
                where r.pipeline_id = v_pipeline_id
                    and r.window_start_time = w.previous_window_start_time
            ) end,
            (
                select b.window_start_time
                from record_ledger.claim as b
                where b.pipeline_id = v_pipeline_id
                    and b.bound_run_id = store_new_and_pass_valid_record.run_id
            )
        into exit_dag, verdict, v_newest_start, v_newest_end, v_newest_token, v_bound_window
        from record_ledger.record as w
        where w.pipeline_id = v_pipeline_id and w.window_start_time >= v_reach
        order by w.window_start_time desc;
        if v_newest_token > 0 and v_bound_window is null and v_newest_end > v_horizon then
            -- When the first one has not settled, no later one has, and none is due. An idle pipeline may be asked
            -- every minute, and that costs no write.
            reason := record_ledger.unstable_reason(
                v_newest_start, v_newest_end, v_x_time_back, config ->> 'x_time_back'
            );
            return;
        end if;
        -- The run had a record, and gets that one or none; or several windows are due.
        exit usual when v_bound_window is not null or v_newest_start is null;
        if v_newest_token > 0 then
            v_first_start := v_newest_start;
            v_first_end := v_newest_end;
        else
            v_is_first := v_newest_token = -1;
            select
                l.newest_token,
                l.historical_credit,
                l.waiting_mark,
                l.active_mark,
                l.lease_mark,
                l.others_seen_at,
                l.line
            into
                v_newest_token,
                v_credit,
                v_waiting_mark,
                v_active_mark,
                v_lease_mark,
                v_others_seen_at,
                v_bounds
            from record_ledger.first_look(v_pipeline_id, v_marks_void_at, v_granularity, null) as l
            order by l.newest_token desc;
            v_first_start := v_bounds[1];
            v_first_end := v_bounds[2];
        end if;
        exit usual when v_first_start < v_zone_since;
        if v_first_start is null or v_first_end is null or v_first_end > v_horizon then
            -- Nothing was passed yet; or another lane held a record within a day.
            exit usual when v_newest_token is null
                or v_others_seen_at > now() - interval '24:00:00';
            if v_newest_end > v_horizon and v_is_first and v_now < v_lease_mark then
                -- Whatever is in progress, its lease runs; whether others are open is looked up below.
                v_first_lane := 'active';
                v_first_start := v_newest_start;
                v_first_end := v_newest_end;
            else
                select o.waiting, o.first_lane into v_bounds, v_first_lane
                from record_ledger.first_open(
                    v_pipeline_id, v_waiting_mark, v_active_mark, v_granularity
                ) as o;
                v_first_start := v_bounds[1];
                v_first_end := v_bounds[2];
            end if;
            -- Leases that run keep no run from being passed a record; any other lane may.
            exit usual when v_first_lane is not null
                and (v_first_lane <> 'active' or v_now < v_lease_mark is not true);
            if v_first_start is null then
                -- Read at one moment, and only where nothing was passed since the look: what was stored after it might
                -- be in progress by now, or wait elsewhere, and nothing would seem to be open.
                select
                    r.window_start_time,
                    r.window_end_time,
                    w.bounds[1],
                    w.bounds[2],
                    exists (
                        select
                        from record_ledger.claim as c
                        where c.pipeline_id = v_pipeline_id and c.claim_token > v_newest_token
                    )
                into v_newest_start, v_newest_end, v_first_start, v_first_end, v_has_passed
                from record_ledger.record as r
                cross join record_ledger.first_waiting(v_pipeline_id, v_waiting_mark) as w (bounds)
                where r.pipeline_id = v_pipeline_id and r.window_start_time >= v_reach
                order by r.window_start_time desc;
                exit usual when not found or v_has_passed;
                if v_first_start is null then
                    exit usual when v_first_lane is not null or v_newest_end < v_horizon;
                    verdict := 'NO_RECORDS';
                    reason := record_ledger.due_reason(v_newest_end, v_x_time_back);
                    return;
                end if;
            end if;
            exit usual when v_first_start < v_zone_since;
            if v_first_end > v_horizon then
                if v_first_lane is not null then
                    exit usual when exists (
                        select
                        from record_ledger.record as o
                        where o.open_pipeline_id = v_pipeline_id and o.lane > 'active'
                            and o.lane < 'waiting'
                    );
                end if;
                reason := record_ledger.unstable_reason(
                    v_first_start, v_first_end, v_x_time_back, config ->> 'x_time_back'
                );
                return;
            end if;
        end if;
        -- What the look has found stands where no other session had the lock since. Operations change the pipeline's
        -- row. And a pass takes the first waiting record from here, unless some were in progress: their claims end
        -- without the lock, and they may come first now.
        select
            q.fields,
            q.config_version,
            q.fields_version,
            q.lease,
            q.max_attempts,
            q.required_counts is not null as needs_counts,
            q.backfill_share > 0 as has_share
        into s
        from record_ledger.pipeline as q
        where q.pipeline_id = v_pipeline_id and q.xmin = v_row_version
        for no key update;
        exit usual when not found;
        v_now := record_ledger.clock();
        if v_first_lane is not null then
            select
                (
                    select a.window_start_time
                    from record_ledger.record as a
                    where a.open_pipeline_id = v_pipeline_id and a.lane = 'active'
                        and a.window_start_time >= v_active_mark
                    order by a.window_start_time
                    limit 1
                ),
                (
                    select o.lane
                    from record_ledger.record as o
                    where o.open_pipeline_id = v_pipeline_id and o.lane > 'active'
                        and o.lane < 'waiting'
                    order by o.lane
                    limit 1
                ),
                exists (
                    select
                    from record_ledger.claim as c
                    where c.pipeline_id = v_pipeline_id and c.claim_token > v_newest_token
                )
            into v_first_active, v_other_lane, v_has_passed;
            exit usual when v_other_lane is not null or v_has_passed
                or v_now < v_lease_mark is not true;
        end if;
        if v_newest_end < v_horizon then
            -- Its local time, as the time zone in force is the pipeline's.
            v_wall := v_newest_end;
            -- More than one is due, or a midnight or a change of clocks ends this one.
            exit usual when v_newest_end + v_granularity < v_now - v_x_time_back
                or not record_ledger.is_within_day(v_newest_end, v_wall, v_granularity, v_timezone);
        end if;
        if s.has_share and v_credit is null then
            select c.historical_credit into v_credit
            from record_ledger.claim as c
            where c.pipeline_id = v_pipeline_id and c.claim_token = v_newest_token;
        end if;
        v_token := record_ledger.next_claim_token(v_newest_token, v_now);
        update record_ledger.record as u
        set attempt = u.attempt + 1,
            claim_token = v_token,
            run_id = store_new_and_pass_valid_record.run_id,
            lease_expires_at = v_now + s.lease,
            is_first = true,
            is_alone = v_first_active is null,
            needs_counts = s.needs_counts,
            last_event = 'passed',
            last_detail = null,
            updated_at = v_now
        where u.pipeline_id = v_pipeline_id and u.window_start_time = v_first_start
            and u.lane = case when v_token < 9007199254740992 then 'waiting' end
            and u.config_version >= s.fields_version
        returning false, 'READY', record_ledger.record_object(u), u.attempt
        into exit_dag, verdict, record, v_attempt;
        -- Another run was passed it; or it is outdated, and to be built first.
        exit usual when not found;
        if v_wall is not null then
            insert into record_ledger.record (
                pipeline_id,
                window_start_time,
                window_end_time,
                previous_window_start_time,
                target_day,
                fields,
                config_version,
                lane,
                open_pipeline_id,
                created_at,
                updated_at
            )
            values (
                v_pipeline_id,
                v_newest_end,
                v_newest_end + v_granularity,
                v_newest_start,
                v_wall::date,
                s.fields,
                s.config_version,
                'waiting',
                v_pipeline_id,
                v_now,
                v_now
            )
            -- Another session has stored it meanwhile.
            on conflict (pipeline_id, window_start_time) do nothing;
        end if;
        insert into record_ledger.claim (
            pipeline_id,
            claim_token,
            window_start_time,
            bound_run_id,
            waiting_mark,
            active_mark,
            historical_mark,
            returned_mark,
            retry_mark,
            lease_mark,
            others_seen_at,
            historical_credit
        )
        values (
            v_pipeline_id,
            v_token,
            v_first_start,
            store_new_and_pass_valid_record.run_id,
            v_first_start,
            least(v_first_active, v_first_start),
            v_now,
            v_now,
            v_now,
            record_ledger.next_lease_mark(v_first_active, v_lease_mark, v_now + s.lease),
            v_others_seen_at,
            coalesce(v_credit, 0)
        );
        reason := record_ledger.passed_reason(
            record, store_new_and_pass_valid_record.run_id, v_attempt, s.max_attempts
        );
        return;
    end loop;

    select l.exit_dag, l.verdict, l.reason, l.record, l.to_build
    into exit_dag, verdict, reason, record, to_build
    from record_ledger.register_store_and_pass(
        config, store_new_and_pass_valid_record.run_id, built
    ) as l;
end
$$;
comment on function record_ledger.store_new_and_pass_valid_record(jsonb, text, jsonb) is
'The whole cycle in one statement: register, store, collect expired leases, pass. (exit_dag, verdict, reason, record, to_build).';
-- record_ledger.store_new_records: stores the windows of a pipeline that are due, 10,000 at most in one call.
-- Without built, the windows of a pipeline with templates are stored unbuilt; with built, up to the first one missing
-- from it, and outdated pending records take their fields from it. An entry that fits no window, or was rendered with
-- another config_version than the one in force, is ignored. stored_count says how many are new.
-- Called by: upload_record_to_database of the runner, psql users. Rules: store_windows, build_records.
create or replace procedure record_ledger.store_new_records(
    pipeline_id text, built jsonb default '[]', inout stored_count integer default 0
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    p record_ledger.pipeline := record_ledger.lock_pipeline(pipeline_id);
    v_now timestamptz := record_ledger.clock();
    v_problem text := record_ledger.built_problem(built, p);
begin
    if v_problem is not null then
        raise exception '%', v_problem
            using errcode = 'RL005',
            hint = 'Send back what to_build names. '
                'A runner of an older release names less: upgrade it.';
    end if;
    perform record_ledger.build_records(p, built, v_now);
    stored_count := record_ledger.store_windows(p, nullif(built, '[]'), v_now);
end
$$;
comment on procedure record_ledger.store_new_records(text, jsonb, integer) is
'Stores the windows of a pipeline that are due, 10,000 at most in one call; stored_count says how many.';
-- record_ledger.store_windows: inserts the due windows of a locked pipeline; returns how many.
-- built null: fields come from a config without templates, else windows are stored unbuilt.
-- built given: each window takes its fields from there, up to the first window that is missing from it. An entry of
-- another window or version of the config is none: what it holds was rendered for something else.
-- Called by: store_new_records, register_store_and_pass.
-- Rules: first_window_start, next_window, due_windows, built_windows, missing_fields, lane, begin_stretch.
create or replace function record_ledger.store_windows(
    p record_ledger.pipeline, built jsonb, as_of timestamptz, out stored_count integer
)
language plpgsql
as $$
declare
    v_start timestamptz;
    v_previous_start timestamptz;
    v_horizon timestamptz := as_of - p.x_time_back;
    v_unbuilt boolean := p.has_templates and built is null;
    v_fields jsonb := case when v_unbuilt then '{}' else p.fields end;
    v_missing text[] := case when not v_unbuilt then p.missing_fields end;
    v_config_version integer := case when not v_unbuilt then p.config_version end;
    v_filled_from timestamptz;
    v_window record;
begin
    stored_count := 0;
    select l.window_start_time, l.window_end_time into v_previous_start, v_start
    from record_ledger.last_window(p.pipeline_id) as l;
    if v_start is null then
        v_start := record_ledger.first_window_start(p, as_of);
    end if;
    -- Nothing rendered, nothing stored: no window is reckoned for it.
    if v_start >= v_horizon or p.is_retired or built = '[]' then
        return;
    end if;
    v_window := record_ledger.next_window(v_start, p.granularity, p.timezone);
    if built is null and v_window.window_end_time >= v_horizon then
        -- The usual case, spared the set-based reckoning: the pipeline runs on time, one window is due.
        insert into record_ledger.record (
            pipeline_id,
            window_start_time,
            window_end_time,
            previous_window_start_time,
            target_day,
            fields,
            config_version,
            missing_fields,
            lane,
            open_pipeline_id,
            created_at,
            updated_at
        )
        values (
            p.pipeline_id,
            v_start,
            v_window.window_end_time,
            v_previous_start,
            v_window.target_day,
            v_fields,
            v_config_version,
            v_missing,
            record_ledger.lane('PENDING', v_missing, v_config_version, true, false, null),
            p.pipeline_id,
            as_of,
            as_of
        );
        stored_count := 1;
        if p.zone_since is null then
            perform record_ledger.begin_stretch(p, v_start);
        end if;
        return;
    end if;
    with stored as (
        insert into record_ledger.record (
            pipeline_id,
            window_start_time,
            window_end_time,
            previous_window_start_time,
            target_day,
            fields,
            config_version,
            missing_fields,
            lane,
            open_pipeline_id,
            created_at,
            updated_at
        )
        select
            p.pipeline_id,
            w.window_start_time,
            w.window_end_time,
            w.previous_window_start_time,
            w.target_day,
            w.fields,
            v_config_version,
            w.missing_fields,
            record_ledger.lane('PENDING', w.missing_fields, v_config_version, true, false, null),
            p.pipeline_id,
            as_of,
            as_of
        from (
            select
                d.target_day,
                d.window_start_time,
                d.window_end_time,
                lag(d.window_start_time, 1, v_previous_start) over (
                    order by d.window_start_time
                ) as previous_window_start_time,
                case when built is null then v_fields else b.fields end as fields,
                case
                    when built is null then v_missing
                    else record_ledger.missing_fields(b.fields, p.check_fields)
                end as missing_fields,
                built is null
                or bool_and(b.fields is not null) over (order by d.window_start_time) as is_known
            -- So many that one call stores 64 MiB of fields at most; the next call goes on.
            from record_ledger.due_windows(
                p,
                v_start,
                as_of,
                least(10000, greatest(1, 67108864 / octet_length(p.fields::text)))
            ) as d
            left join record_ledger.built_windows(built, p) as b
                on b.window_start_time = d.window_start_time
                and b.window_end_time = d.window_end_time
        ) as w
        where w.is_known
        order by w.window_start_time
        returning window_start_time, missing_fields
    )

    select
        count(*),
        min(s.window_start_time) filter (where s.missing_fields is null)
    into stored_count, v_filled_from
    from stored as s;
    if p.missing_fields is not null and built is not null then
        perform record_ledger.note_filled(p, v_filled_from);
    end if;
    if p.zone_since is null and stored_count > 0 then
        perform record_ledger.begin_stretch(p, v_start);
    end if;
end
$$;
comment on function record_ledger.store_windows(record_ledger.pipeline, jsonb, timestamptz) is
'Private. Inserts the due windows of a locked pipeline, 10,000 at most; returns how many.';
-- record_ledger.suggest_x_time_back: the shortest measured x_time_back that misses no more than a share of the rows.
-- The present one when it does; else how long after a window's end the counts of the first recount age came that do.
-- What comes later than the last age nobody knows, so it is no answer: null then, as when too few windows are counted.
-- Never shorter than the present one: what it missed less would have been counted before windows had settled.
-- Called by: suggest-x-time-back of the runner, analysts. Rules: lateness, enough_windows.
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
        raise exception 'max_missed: % is no share; give a number from 0 to 1, such as 0.001',
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
                '%s windows were counted when they had settled%s and at the last recount age; '
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
            -- Up to the whole minute: nobody writes 26h3m17.4s into a config.
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
            '%s of the rows of %s windows came later than the counts of age %s, and what comes '
            'later than the last recount age nobody has counted: give recount_ages a later one',
            trim_scale(round(100 * v_found.missed_share, 4)) || ' %',
            v_found.window_count,
            record_ledger.time_interval('epoch', timestamptz 'epoch' + v_found.recount_age)
        );
    end loop;
end
$$;
comment on function record_ledger.suggest_x_time_back(text, numeric) is
'The shortest measured x_time_back that misses no more than a share of the rows, from how many windows, and why: (x_time_back, missed_share, window_count, reason).';
-- record_ledger.void_marks: what the claims of a pipeline note of its lanes and leases does not hold any more.
-- Records have come to lanes other than by the end of a claim, or a lease ends earlier than it did: the next pass looks
-- from the beginning, and notes it anew. A pass that looked before it had the lock sees that the row has changed.
-- Called by: check_record_change, for every change of this kind; backfill_range, which inserts.
-- Rules: first_look says when the marks of a claim hold.
create or replace function record_ledger.void_marks(pipeline_id text)
returns void
language plpgsql
as $$
#variable_conflict use_column
begin
    -- In a statement of its own: the next one sees the claim of a pass that was waited for.
    perform
    from record_ledger.pipeline as p
    where p.pipeline_id = void_marks.pipeline_id
    for no key update;
    -- Even when the token is the same: by its row a pass that has looked already sees that something has changed.
    update record_ledger.pipeline as p
    set marks_void_at = (
        select max(c.claim_token)
        from record_ledger.claim as c
        where c.pipeline_id = void_marks.pipeline_id
    )
    where p.pipeline_id = void_marks.pipeline_id;
end
$$;
comment on function record_ledger.void_marks(text) is
'Private. Says that what the claims of a pipeline note of its lanes and leases does not hold any more.';
-- record_ledger.waive_counts: lets a record be completed although its counts do not agree; the only way round.
-- For its present generation, while it is pending or in progress (RL003 else), with a reason, kept in its history.
-- Returns whether that is new: false when they were waived already.
-- Called by: operators, through the runner's command waive-counts, the dbt macro of the same name, or psql.
-- Rules: check_reason; check_record_change guards the change.
create or replace function record_ledger.waive_counts(
    pipeline_id text, window_start_time timestamptz, reason text
)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    p record_ledger.pipeline;
    r record_ledger.record;
begin
    perform record_ledger.check_reason(waive_counts.reason);
    -- A pass comes before this or after it; then nobody completes or reopens the record before this is committed.
    p := record_ledger.lock_pipeline(waive_counts.pipeline_id);
    r := record_ledger.lock_record(p.pipeline_id, waive_counts.window_start_time);
    if p.required_counts is null then
        raise exception 'the config of pipeline % asks for no counts: there is nothing to waive',
            p.pipeline_id
            using errcode = 'RL005', hint = 'The key required_counts asks for them.';
    end if;
    if r.status not in ('PENDING', 'IN_PROGRESS') then
        raise exception 'window % of pipeline % is %: counts are waived before a record is done',
            record_ledger.local_time(
                r.window_start_time, record_ledger.window_timezone(p, r.window_start_time)
            ),
            r.pipeline_id,
            r.status
            using errcode = 'RL003',
            hint = 'Reopen it, and waive the counts of its new generation.';
    end if;
    if r.counts_waived then
        return false;
    end if;
    update record_ledger.record as u
    set last_event = 'counts_waived',
        last_detail = jsonb_build_object('reason', waive_counts.reason),
        updated_at = record_ledger.clock()
    where u.pipeline_id = r.pipeline_id and u.window_start_time = r.window_start_time;
    return true;
end
$$;
comment on function record_ledger.waive_counts(text, timestamptz, text) is
'Lets the present generation of a record be completed whatever its counts are, with a reason; returns whether that is new.';
-- record_ledger.waive_lost_records: waives records of a locked pipeline whose source data is gone, 1,000 at most.
-- No run could process them: they are WAIVED with the reason 'lost', and the pipeline's history says how many.
-- What is left over waits for the next pass, and is passed over until then. Claims are left to their holders.
-- Called by: pass_record. Rules: lost_before says which.
create or replace function record_ledger.waive_lost_records(
    p record_ledger.pipeline, lost_before timestamptz, as_of timestamptz
)
returns void
language plpgsql
as $$
#variable_conflict use_column
declare
    v_lost record;
    v_lanes constant text[] := array[
        'failed', 'historical', 'retry', 'retryh', 'returned', 'waiting'
    ] || array(
        select l.lane from record_ledger.incomplete_lanes(p.pipeline_id) as l (lane)
    );
begin
    with waived as (
        update record_ledger.record as r
        set retry_at = null,
            postponement = null,
            last_event = 'waived',
            last_detail = jsonb_build_object(
                'reason', 'lost',
                'source_kept_until', record_ledger.local_time(
                    r.window_end_time + p.source_retention, p.timezone
                )
            ),
            updated_at = as_of
        from (
            select o.window_start_time
            from record_ledger.record as o
            where o.open_pipeline_id = p.pipeline_id
                and o.lane = any (v_lanes)
                and o.window_start_time < waive_lost_records.lost_before
            limit 1000
        ) as l
        where r.pipeline_id = p.pipeline_id and r.window_start_time = l.window_start_time
        returning r.window_start_time, r.window_end_time
    )

    select
        count(*) as record_count,
        min(w.window_start_time) as from_time,
        max(w.window_end_time) as to_time
    into v_lost
    from waived as w;
    perform record_ledger.append_pipeline_event(
        p.pipeline_id,
        'lost',
        jsonb_build_object(
            'count', v_lost.record_count,
            'from_time', record_ledger.local_time(v_lost.from_time, p.timezone),
            'to_time', record_ledger.local_time(v_lost.to_time, p.timezone)
        ),
        as_of
    );
end
$$;
comment on function record_ledger.waive_lost_records(
    record_ledger.pipeline, timestamptz, timestamptz
) is
'Private. Waives records of a locked pipeline whose source data is gone, 1,000 at most, with the reason ''lost''.';
-- record_ledger.waive_range: marks pending and failed records of a locked pipeline WAIVED; returns how many.
-- Those of a range, whose whole window lies in it, that status_after lets be changed; others are left alone.
-- Called by: change_range.
-- Rules: status_after, is_in_range; check_record_change guards the change.
create or replace function record_ledger.waive_range(
    p record_ledger.pipeline,
    from_time timestamptz,
    to_time timestamptz,
    reason text,
    as_of timestamptz
)
returns integer
language plpgsql
as $$
declare
    v_changed integer;
begin
    update record_ledger.record as r
    set retry_at = null,
        postponement = null,
        last_event = 'waived',
        last_detail = jsonb_build_object('reason', reason),
        updated_at = as_of
    where r.pipeline_id = p.pipeline_id
        and record_ledger.is_in_range(r.window_start_time, r.window_end_time, from_time, to_time)
        and record_ledger.status_after(
            'waive',
            r.status,
            r.attempt < p.max_attempts,
            r.cancellation is not null,
            record_ledger.is_lost(r.window_end_time, p.source_retention, as_of)
        ) is not null;
    get diagnostics v_changed = row_count;
    return v_changed;
end
$$;
comment on function record_ledger.waive_range(
    record_ledger.pipeline, timestamptz, timestamptz, text, timestamptz
) is
'Private. Marks the pending and failed records of a range of a locked pipeline WAIVED; returns how many.';
-- record_ledger.waive_records: marks the pending and failed records of a range WAIVED: no run is needed for them.
-- Those whose whole window lies in [from_time, to_time); others are left alone. Returns how many changed.
-- Called by: operators, through the runner's command waive, the dbt macro of the same name, or psql.
-- Rules: change_range.
create or replace function record_ledger.waive_records(
    pipeline_id text, from_time timestamptz, to_time timestamptz, reason text
)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    p record_ledger.pipeline;
begin
    perform record_ledger.check_reason(reason);
    perform record_ledger.check_range(from_time, to_time);
    -- A pass could otherwise hand out the very record that is being waived.
    p := record_ledger.lock_pipeline(pipeline_id);
    return record_ledger.change_range(
        'waive', p, from_time, to_time, reason, record_ledger.clock()
    );
end
$$;
comment on function record_ledger.waive_records(text, timestamptz, timestamptz, text) is
'Marks the pending and failed records whose whole window lies in a range as WAIVED, with a reason; returns how many.';
-- record_ledger.window_time: the start of the window that people of a pipeline name by a local time or a date.
-- A window is named by the clock that it was cut with, which is how tables show it; where none has that clock, the
-- text is read as a time of the zone in force. RL005 when it could be two windows, or when clocks skip it.
-- Called by: the runner and dbt for every window that a person names; psql users who think in local time.
-- Rules: wall_time, local_instants, day_start, pipeline_time.
create or replace function record_ledger.window_time(pipeline_id text, time_text text)
returns timestamptz
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_wall constant timestamp := record_ledger.wall_time(window_time.time_text);
    v_is_date constant boolean := length(window_time.time_text) = length('2026-01-01');
    v_timezone text;
    v_last_end timestamptz;
    v_starts timestamptz[];
    v_names text[];
begin
    if v_wall is null then
        return record_ledger.pipeline_time(window_time.pipeline_id, window_time.time_text);
    end if;
    select p.timezone into v_timezone
    from record_ledger.pipeline as p
    where p.pipeline_id = window_time.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(window_time.pipeline_id);
    end if;
    select l.window_end_time into v_last_end
    from record_ledger.last_window(window_time.pipeline_id) as l;

    select
        array_agg(c.instant order by c.instant),
        array_agg(record_ledger.local_time(c.instant, c.timezone) order by c.instant)
    into v_starts, v_names
    from (
        select i.instant, s.timezone
        from (
            select
                z.timezone,
                z.from_time,
                lead(z.from_time, 1, v_last_end) over (order by z.from_time) as to_time,
                true as is_stored
            from record_ledger.pipeline_zone as z
            where z.pipeline_id = window_time.pipeline_id
            union all
            -- What is not stored yet may be any window of the zone in force.
            select v_timezone, coalesce(v_last_end, '-infinity'), 'infinity', false
        ) as s
        cross join lateral unnest(
            case
                when v_is_date
                    then array[record_ledger.day_start(v_wall::date, s.timezone)]
                else record_ledger.local_instants(v_wall, s.timezone)
            end
        ) as i (instant)
        where i.instant >= s.from_time
            and i.instant < s.to_time
            and (
                not s.is_stored
                or exists (
                    select
                    from record_ledger.record as r
                    where r.pipeline_id = window_time.pipeline_id
                        and r.window_start_time = i.instant
                )
                or exists (
                    select
                    from record_ledger.archived_record as a
                    where a.pipeline_id = window_time.pipeline_id
                        and a.window_start_time = i.instant
                )
            )
    ) as c;
    if cardinality(v_starts) > 1 then
        raise exception '"%" could be two windows of pipeline %: % and %',
            window_time.time_text, window_time.pipeline_id, v_names[1], v_names[2]
            using errcode = 'RL005', hint = 'Give the one that is meant, with its offset.';
    elsif v_starts is not null then
        return v_starts[1];
    end if;
    if not v_is_date and record_ledger.local_instants(v_wall, v_timezone) = '{}' then
        raise exception
            '"%" names no window: clocks of % skip that time; the next one is %',
            window_time.time_text,
            v_timezone,
            record_ledger.local_time(
                record_ledger.local_instant(v_wall, v_timezone), v_timezone
            )
            using errcode = 'RL005', hint = 'Give the window''s start as tables show it.';
    end if;
    return record_ledger.pipeline_time(window_time.pipeline_id, window_time.time_text);
end
$$;
comment on function record_ledger.window_time(text, text) is
'The start of the window that people name by a local time or a date, by the clock that it was cut with; RL005 when it could be two.';
-- record_ledger.windows_to_build: what a runner must render before the ledger can store and pass.
-- For a run that has a record, that one. Else the due windows (10,000 at most), and where the next record is outdated,
-- it and the outdated ones among the next record_limit of each kind: other runs may be passed the first meanwhile.
-- Each names the zone it was cut with, or will be, as timezone: its times have that zone's offsets, and templates see
-- its clock. config_version is what an entry of built has to name.
-- Called by: register_store_and_pass, pass_valid_records.
-- Rules: next_window_start, due_windows, is_stable, is_lost, incomplete_lanes, window_timezone, json_time.
create or replace function record_ledger.windows_to_build(
    p record_ledger.pipeline,
    -- The record that the pass comes to next; null when neither it nor one after it can be outdated.
    next_window timestamptz,
    -- The run has that record, and is passed no other.
    is_bound boolean,
    -- No record of the lane 'waiting' that starts before it can be passed.
    waiting_mark timestamptz,
    record_limit integer,
    as_of timestamptz
)
returns jsonb
language plpgsql
stable
-- Ends the effect of set_config below with this function: a caller's session keeps its time zone.
set timezone = 'UTC'
as $$
declare
    v_windows jsonb;
begin
    perform pg_catalog.set_config('timezone', p.timezone, true);
    select coalesce(
        jsonb_agg(
            jsonb_build_object(
                'pipeline_id', p.pipeline_id,
                'target_day', w.target_day,
                'window_start_time', record_ledger.json_time(w.window_start_time, w.timezone),
                'window_end_time', record_ledger.json_time(w.window_end_time, w.timezone),
                'time_interval', record_ledger.time_interval(
                    w.window_start_time, w.window_end_time
                ),
                'timezone', coalesce(w.timezone, p.timezone),
                'config_version', p.config_version
            )
            -- Without the first one nothing can be passed.
            order by
                w.window_start_time is not distinct from windows_to_build.next_window desc,
                w.window_start_time
        ),
        '[]'
    )
    into v_windows
    from (
        select
            r.target_day,
            r.window_start_time,
            r.window_end_time,
            nullif(record_ledger.window_timezone(p, r.window_start_time), p.timezone) as timezone
        from record_ledger.record as r
        where r.pipeline_id = p.pipeline_id
            and r.window_start_time = windows_to_build.next_window
            and coalesce(r.config_version < p.fields_version, true)
        union
        select
            o.target_day,
            o.window_start_time,
            o.window_end_time,
            nullif(record_ledger.window_timezone(p, o.window_start_time), p.timezone)
        from (
            select
                r.target_day,
                r.window_start_time,
                r.window_end_time,
                coalesce(r.config_version < p.fields_version, true) as is_outdated,
                row_number() over (
                    partition by r.is_historical
                    order by r.window_start_time
                ) as place
            from unnest(
                array['historical', 'retry', 'retryh', 'returned', 'waiting'] || array(
                    select l.lane
                    from record_ledger.incomplete_lanes(p.pipeline_id, p.fields_version)
                        as l (lane)
                )
            ) as l (lane)
            cross join lateral (
                (
                    select
                        q.target_day,
                        q.window_start_time,
                        q.window_end_time,
                        q.config_version,
                        q.is_historical
                    from record_ledger.record as q
                    where q.open_pipeline_id = p.pipeline_id and q.lane = l.lane
                        and l.lane not in ('retry', 'retryh')
                        and q.window_start_time >= case
                            when l.lane = 'waiting' then coalesce(waiting_mark, '-infinity')
                            else '-infinity'
                        end
                        and (q.retry_at is null or q.retry_at <= as_of)
                        and record_ledger.is_stable(q.window_end_time, p.x_time_back, as_of)
                        and not record_ledger.is_lost(
                            q.window_end_time, p.source_retention, as_of
                        )
                    order by q.window_start_time
                    limit record_limit
                )
                union all
                (
                    select
                        q.target_day,
                        q.window_start_time,
                        q.window_end_time,
                        q.config_version,
                        q.is_historical
                    from record_ledger.record as q
                    where q.open_pipeline_id = p.pipeline_id and q.lane = l.lane
                        and l.lane in ('retry', 'retryh')
                        and q.lease_expires_at is null and q.retry_at <= as_of
                        and record_ledger.is_stable(q.window_end_time, p.x_time_back, as_of)
                        and not record_ledger.is_lost(
                            q.window_end_time, p.source_retention, as_of
                        )
                    order by q.lease_expires_at, q.retry_at
                    limit record_limit
                )
            ) as r
            where windows_to_build.next_window is not null and not is_bound
        ) as o
        where o.is_outdated and o.place <= record_limit
        union all
        select d.target_day, d.window_start_time, d.window_end_time, null as timezone
        from record_ledger.due_windows(
            p, record_ledger.next_window_start(p, as_of), as_of, 10000
        ) as d
        where not is_bound
    ) as w;
    return v_windows;
end
$$;
comment on function record_ledger.windows_to_build(
    record_ledger.pipeline, timestamptz, boolean, timestamptz, integer, timestamptz
) is
'Private. The windows whose templates the caller must render and send back as built.';
-- record_ledger.archived_record_events: the life of each archived record, one row per change of its state.
-- The columns of record_events; the rows went to the archive with their record, unchanged.
-- Read by: history of the runner, records_as_of, the dbt source of the same name, analysts.
-- Rules: none.
create or replace view record_ledger.archived_record_events as
select
    e.pipeline_id,
    e.window_start_time,
    e.event_no,
    e.event_time,
    e.event,
    e.from_status,
    e.to_status,
    e.generation,
    e.attempt,
    e.claim_token,
    e.run_id,
    e.actor,
    e.detail
from record_ledger.archived_record_event as e;
comment on view record_ledger.archived_record_events is
'The history of archived records: one row per change of a record, never rewritten.';
comment on column record_ledger.archived_record_events.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.archived_record_events.window_start_time is 'The window of the record that changed.';
comment on column record_ledger.archived_record_events.event_no is 'Numbers the events of a record from 1 on.';
comment on column record_ledger.archived_record_events.event_time is 'When the change was made.';
comment on column record_ledger.archived_record_events.event is
'passed, passed_again, completed, failed, released, lease_expired, cancelled, waived, reopened, rebuilt or counts_waived.';
comment on column record_ledger.archived_record_events.from_status is 'The status before the change.';
comment on column record_ledger.archived_record_events.to_status is 'The status after the change.';
comment on column record_ledger.archived_record_events.generation is 'The generation the change belongs to.';
comment on column record_ledger.archived_record_events.attempt is 'The attempt the change belongs to.';
comment on column record_ledger.archived_record_events.claim_token is 'The claim that made the change or was ended by it.';
comment on column record_ledger.archived_record_events.run_id is 'The run of that claim.';
comment on column record_ledger.archived_record_events.actor is 'The database role that made the change.';
comment on column record_ledger.archived_record_events.detail is 'What the change says: an error, a reason, counts, the fields before.';
-- record_ledger.archived_record_observations: what was counted of each archived record, at each stage.
-- The columns of record_observations; the rows went to the archive with their record, unchanged.
-- Read by: history of the runner, the dbt source of the same name, analysts.
-- Rules: none.
create or replace view record_ledger.archived_record_observations as
select
    o.pipeline_id,
    o.window_start_time,
    o.observation_no,
    o.observed_at,
    o.stage,
    o.row_count,
    o.detail,
    o.generation,
    o.claim_token,
    o.run_id,
    o.actor,
    o.adopted_no,
    not exists (
        select
        from record_ledger.archived_record_observation as n
        where n.pipeline_id = o.pipeline_id
            and n.window_start_time = o.window_start_time
            and n.observation_no > o.observation_no
            and n.claim_token = o.claim_token
            and n.stage = o.stage
    )
    and exists (
        select
        from record_ledger.archived_record_event as e
        where e.pipeline_id = o.pipeline_id
            and e.window_start_time = o.window_start_time
            and e.claim_token = o.claim_token
            and e.event = 'completed'
    ) as is_evidence
from record_ledger.archived_record_observation as o;
comment on view record_ledger.archived_record_observations is
'The counts of archived records: one row per observation, never rewritten.';
comment on column record_ledger.archived_record_observations.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.archived_record_observations.window_start_time is 'The window of the record that was counted.';
comment on column record_ledger.archived_record_observations.observation_no is 'Numbers the observations of a record from 1 on.';
comment on column record_ledger.archived_record_observations.observed_at is 'When the count was noted.';
comment on column record_ledger.archived_record_observations.stage is 'Where it was counted: source, stage, target or a name of the team''s own.';
comment on column record_ledger.archived_record_observations.row_count is 'How many rows were counted.';
comment on column record_ledger.archived_record_observations.detail is 'What else was observed: bytes, digests.';
comment on column record_ledger.archived_record_observations.generation is 'The generation that the record was in.';
comment on column record_ledger.archived_record_observations.claim_token is 'The claim under which it was counted, current at the time; null when it was counted without one.';
comment on column record_ledger.archived_record_observations.run_id is 'The run of that claim.';
comment on column record_ledger.archived_record_observations.actor is 'The database role that noted it.';
comment on column record_ledger.archived_record_observations.adopted_no is 'The observation of an earlier claim that this one takes over; null when it was counted anew.';
comment on column record_ledger.archived_record_observations.is_evidence is
'Whether completing goes by it, or went by it: the newest of its stage under the claim that holds or completed the generation.';
-- record_ledger.archived_records: the finished records that archive_records has moved out of the ledger, for analysts.
-- One row per archived record, with the columns of pipeline_records and when it was archived.
-- Read by: history of the runner, records_as_of, the dbt source of the same name, analysts.
-- Rules: time_interval.
create or replace view record_ledger.archived_records as
select
    r.pipeline_id,
    r.target_day,
    r.window_start_time,
    r.window_end_time,
    record_ledger.time_interval(r.window_start_time, r.window_end_time) as time_interval,
    r.status,
    r.fields ->> 'key_x' as key_x,
    r.fields ->> 'key_y' as key_y,
    r.fields ->> 'key_z' as key_z,
    r.created_at,
    r.updated_at,
    r.fields,
    r.generation,
    r.attempt,
    r.claim_token,
    r.run_id,
    null::timestamptz as lease_expires_at,
    null::timestamptz as retry_at,
    r.missing_fields,
    r.config_version,
    r.last_event,
    r.last_detail,
    r.archived_at,
    -- A waiver publishes nothing and unpublishes nothing, and neither does an attempt that fails.
    case
        when r.status = 'COMPLETED' then r.generation
        when r.generation > 1
            then (
                select max(e.generation)
                from record_ledger.archived_record_event as e
                where e.pipeline_id = r.pipeline_id
                    and e.window_start_time = r.window_start_time
                    and e.event = 'completed'
            )
    end as published_generation,
    r.counts_waived,
    (
        select z.timezone
        from record_ledger.pipeline_zone as z
        where z.pipeline_id = r.pipeline_id and z.from_time <= r.window_start_time
        order by z.from_time desc
        limit 1
    ) as window_timezone
from record_ledger.archived_record as r;
comment on view record_ledger.archived_records is
'The archive: one row per finished record that was moved out of the ledger, as it was in pipeline_records.';
comment on column record_ledger.archived_records.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.archived_records.target_day is 'The local day of the window''s start.';
comment on column record_ledger.archived_records.window_start_time is 'The first instant of the window.';
comment on column record_ledger.archived_records.window_end_time is 'The first instant after the window.';
comment on column record_ledger.archived_records.time_interval is 'The actual length of the window, hours the largest unit.';
comment on column record_ledger.archived_records.status is 'COMPLETED or WAIVED.';
comment on column record_ledger.archived_records.key_x is 'The field key_x of the record.';
comment on column record_ledger.archived_records.key_y is 'The field key_y of the record.';
comment on column record_ledger.archived_records.key_z is 'The field key_z of the record.';
comment on column record_ledger.archived_records.created_at is 'When the record was stored.';
comment on column record_ledger.archived_records.updated_at is 'When the newest event of the record happened, or else when it was stored.';
comment on column record_ledger.archived_records.fields is 'The record''s own fields.';
comment on column record_ledger.archived_records.generation is 'Counts from 1; one more each time the record was reopened.';
comment on column record_ledger.archived_records.attempt is 'How many attempts of this generation had begun.';
comment on column record_ledger.archived_records.claim_token is 'The token of the newest claim; null when there was none.';
comment on column record_ledger.archived_records.run_id is 'The run of the newest claim; null when there was none.';
comment on column record_ledger.archived_records.lease_expires_at is 'Always null: a finished record is not claimed.';
comment on column record_ledger.archived_records.retry_at is 'Always null: a finished record is not tried again.';
comment on column record_ledger.archived_records.missing_fields is 'The fields that were empty but must not be; null when the record was complete.';
comment on column record_ledger.archived_records.config_version is 'The version of the config the fields were built with; null when they were unbuilt.';
comment on column record_ledger.archived_records.last_event is 'The newest event of the record.';
comment on column record_ledger.archived_records.last_detail is 'What the newest event says: a reason, counts.';
comment on column record_ledger.archived_records.archived_at is 'When the record was moved to the archive.';
comment on column record_ledger.archived_records.published_generation is
'The newest generation that was completed: it is published until a later one is completed; null when none was.';
comment on column record_ledger.archived_records.counts_waived is 'Whether somebody has waived the counts of this generation.';
comment on column record_ledger.archived_records.window_timezone is 'The IANA time zone that the window was cut with.';
-- record_ledger.changed_records: the completed records whose source has changed since they were loaded.
-- One row per completed record whose newest count of the source differs from the one that its generation stands on.
-- None of retired pipelines: nothing would load them anew.
-- Read by: reopen_changed_records, changed of the runner, the dbt source of the same name, analysts.
-- Rules: count_tolerance.
create or replace view record_ledger.changed_records as
select
    p.pipeline_id,
    r.window_start_time,
    r.window_end_time,
    r.target_day,
    r.generation,
    o.row_count - o.changed_by as loaded_count,
    o.row_count as source_count,
    o.changed_by,
    o.observed_at,
    abs(o.changed_by) > coalesce(
        record_ledger.count_tolerance(
            p.required_counts ->> 'tolerance', o.row_count - o.changed_by
        ),
        0
    ) as is_beyond_tolerance,
    record_ledger.window_timezone(p, r.window_start_time) as window_timezone
from record_ledger.pipeline as p
-- The few that differ first, then their records, whatever the planner knows of the tables: hence the offsets.
cross join lateral (
    select q.*
    from record_ledger.record_observation as q
    where q.pipeline_id = p.pipeline_id and q.changed_by <> 0
    offset 0
) as o
cross join lateral (
    select q.*
    from record_ledger.record as q
    where q.pipeline_id = p.pipeline_id and q.window_start_time = o.window_start_time
    offset 0
) as r
where not p.is_retired
    and r.status = 'COMPLETED'
    and r.generation = o.generation
    and not exists (
        select
        from record_ledger.record_observation as n
        where n.pipeline_id = o.pipeline_id
            and n.window_start_time = o.window_start_time
            and n.observation_no > o.observation_no
            and n.changed_by is not null
            and n.generation = o.generation
    );
comment on view record_ledger.changed_records is
'The completed records whose source has changed since: one row per record whose newest count of the source is another one than it was loaded with.';
comment on column record_ledger.changed_records.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.changed_records.window_start_time is 'The first instant of the window.';
comment on column record_ledger.changed_records.window_end_time is 'The first instant after the window.';
comment on column record_ledger.changed_records.target_day is 'The local day of the window''s start.';
comment on column record_ledger.changed_records.generation is 'The generation that was completed before the source changed.';
comment on column record_ledger.changed_records.loaded_count is 'How many rows the source had when the record was loaded.';
comment on column record_ledger.changed_records.source_count is 'How many rows it had when it was last counted.';
comment on column record_ledger.changed_records.changed_by is 'The difference; below 0 when rows have gone.';
comment on column record_ledger.changed_records.observed_at is 'When it was last counted.';
comment on column record_ledger.changed_records.is_beyond_tolerance is
'Whether it is more than the tolerance of required_counts, which is 0 rows unless the config says so: reopen_changed_records then reopens it.';
comment on column record_ledger.changed_records.window_timezone is 'The IANA time zone that the window was cut with.';
-- record_ledger.daily_coverage: how the windows of each pipeline cover each local day, from the first to the newest.
-- Days are those of the zone in force, whatever zone the windows were cut with.
-- One row per pipeline and local day, archived windows included; a date that the zone has skipped has no row.
-- Read by: coverage of the runner, the dbt source of the same name, analysts.
-- Rules: days_with_windows, day_coverage.
create or replace view record_ledger.daily_coverage as
select
    p.pipeline_id,
    d.local_date,
    p.timezone,
    c.day_start_time,
    c.day_end_time,
    c.first_window_start_time,
    extract(epoch from c.day_end_time - c.day_start_time) * interval '1 second' as day_length,
    c.covered_seconds * interval '1 second' as covered_length,
    c.window_count,
    c.published_count,
    c.waived_count,
    c.lost_count,
    c.open_count,
    c.is_published,
    c.is_sealed,
    c.counts
from record_ledger.pipeline as p
cross join lateral record_ledger.days_with_windows(p) as d
cross join lateral record_ledger.day_coverage(p, d.local_date) as c
where c.day_start_time < c.day_end_time;
comment on view record_ledger.daily_coverage is
'How windows cover each local day: one row per pipeline and day from its first to its newest window, the archive included.';
comment on column record_ledger.daily_coverage.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.daily_coverage.local_date is 'The local day in the time zone in force.';
comment on column record_ledger.daily_coverage.timezone is 'The IANA time zone of the pipeline that is in force.';
comment on column record_ledger.daily_coverage.day_start_time is 'The local midnight that the day begins with, that is its first instant.';
comment on column record_ledger.daily_coverage.day_end_time is 'The local midnight that ends it.';
comment on column record_ledger.daily_coverage.first_window_start_time is 'Where the first window that begins in the day starts: at its midnight, unless the pipeline begins in the day or was cut with another zone; null without one.';
comment on column record_ledger.daily_coverage.day_length is 'How long the day is: 24 h but where clocks change.';
comment on column record_ledger.daily_coverage.covered_length is 'How much of it published or waived windows cover, wherever they begin and end.';
comment on column record_ledger.daily_coverage.window_count is 'How many windows begin in the day.';
comment on column record_ledger.daily_coverage.published_count is 'How many of them have a generation that was completed.';
comment on column record_ledger.daily_coverage.waived_count is 'How many of them are WAIVED.';
comment on column record_ledger.daily_coverage.lost_count is 'How many of these because their source data was gone.';
comment on column record_ledger.daily_coverage.open_count is 'How many of them are PENDING, IN_PROGRESS or FAILED, published or not.';
comment on column record_ledger.daily_coverage.is_published is 'Whether published or waived windows cover the day from its first to its last instant: it can be read without a hole.';
comment on column record_ledger.daily_coverage.is_sealed is 'Whether completed or waived windows cover the day from its first to its last instant: published, and none of them is open again.';
comment on column record_ledger.daily_coverage.counts is
'The counts that published generations stand on, {stage: {"rows": ..., "windows": ...}}: how many rows, from how many windows.';
-- record_ledger.oldest_valid_record: the record that each pipeline would be passed next.
-- One row per pipeline: its oldest pending record that is stable and complete; no row when there is none.
-- A record whose lease has expired counts when the next pass would hand it out.
-- Read by: its dbt source, analysts. Rules: pipeline_answer, that is next_answer, which the passing routines ask too.
create or replace view record_ledger.oldest_valid_record as
select
    p.pipeline_id,
    r.target_day,
    r.window_start_time,
    r.window_end_time,
    record_ledger.time_interval(r.window_start_time, r.window_end_time) as time_interval,
    r.status,
    r.generation,
    r.attempt,
    r.fields,
    r.created_at,
    r.updated_at,
    record_ledger.window_timezone(p, r.window_start_time) as window_timezone,
    coalesce(r.config_version < p.fields_version, true) as is_outdated
-- One instant for the whole statement; offset 0 keeps the planner from asking the clock once per pipeline.
from (select record_ledger.clock() as as_of offset 0) as moment
cross join record_ledger.pipeline as p
cross join lateral (
    select a.window_start_time
    from record_ledger.pipeline_answer(p, moment.as_of) as a
    where a.verdict = 'READY'
    limit 1
) as answer
join record_ledger.record as r
    on r.pipeline_id = p.pipeline_id and r.window_start_time = answer.window_start_time;
comment on view record_ledger.oldest_valid_record is
'The record that each pipeline would be passed next: its oldest pending one that is stable and complete; no row when there is none.';
comment on column record_ledger.oldest_valid_record.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.oldest_valid_record.target_day is 'The local day of the window''s start.';
comment on column record_ledger.oldest_valid_record.window_start_time is 'The first instant of the window.';
comment on column record_ledger.oldest_valid_record.window_end_time is 'The first instant after the window.';
comment on column record_ledger.oldest_valid_record.time_interval is 'The actual length of the window, hours the largest unit.';
comment on column record_ledger.oldest_valid_record.status is 'PENDING; IN_PROGRESS when its lease has expired and no pass has collected it yet.';
comment on column record_ledger.oldest_valid_record.generation is 'Counts from 1; one more each time the record is reopened.';
comment on column record_ledger.oldest_valid_record.attempt is 'How many attempts of this generation have begun.';
comment on column record_ledger.oldest_valid_record.fields is 'The record''s own fields, as they are stored.';
comment on column record_ledger.oldest_valid_record.created_at is 'When the record was stored.';
comment on column record_ledger.oldest_valid_record.updated_at is 'When the newest event of the record happened, or else when it was stored.';
comment on column record_ledger.oldest_valid_record.window_timezone is 'The IANA time zone that the window was cut with.';
comment on column record_ledger.oldest_valid_record.is_outdated is
'Whether the fields were built before default_record or check_fields last changed, or never; the pass builds the record first.';
-- record_ledger.pipeline_events: what happened to each pipeline as a whole: what was done to it, by whom and when.
-- One row per change, never updated or deleted.
-- Read by: analysts.
-- Rules: none.
create or replace view record_ledger.pipeline_events as
select
    e.pipeline_id,
    e.event_no,
    e.event_time,
    e.event,
    e.actor,
    e.detail
from record_ledger.pipeline_event as e;
comment on view record_ledger.pipeline_events is
'The changes of each pipeline: one row per change, with who made it and when.';
comment on column record_ledger.pipeline_events.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.pipeline_events.event_no is 'Numbers the changes of a pipeline from 1 on.';
comment on column record_ledger.pipeline_events.event_time is 'When the change was made.';
comment on column record_ledger.pipeline_events.event is 'What happened: registered, reconfigured, backfilled, lost, changed_reopened, archived, paused, resumed or retired.';
comment on column record_ledger.pipeline_events.actor is 'The database role that made the change.';
comment on column record_ledger.pipeline_events.detail is 'What the change says: the config and its version, or same_config_as_version where a config returns, a reason, what a backfill added, what was archived, lost or reopened.';
-- record_ledger.pipeline_lateness: how late data came, per pipeline and recount age.
-- One row per pipeline and age, 0 (the count that windows were loaded with) included; lateness says what is drawn on.
-- Read by: lateness of the runner, the dbt source of the same name, analysts.
-- Rules: lateness.
create or replace view record_ledger.pipeline_lateness as
select
    p.pipeline_id,
    l.recount_age,
    p.x_time_back,
    l.window_count,
    l.late_window_count,
    l.row_count,
    l.min_lateness,
    l.max_lateness,
    l.missed_share,
    l.worst_missed_share
from record_ledger.pipeline as p
cross join lateral record_ledger.lateness(p) as l
where not p.is_retired;
comment on view record_ledger.pipeline_lateness is
'How late data came: one row per pipeline and recount age, 0 included, with the share of rows that came later than the counts of that age.';
comment on column record_ledger.pipeline_lateness.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.pipeline_lateness.recount_age is 'How long after the count that the window was loaded with; 0 is that count itself.';
comment on column record_ledger.pipeline_lateness.x_time_back is 'The x_time_back in force: at age 0, missed_share is what it missed.';
comment on column record_ledger.pipeline_lateness.window_count is 'From how many windows the row is drawn.';
comment on column record_ledger.pipeline_lateness.late_window_count is 'In how many of them rows came later.';
comment on column record_ledger.pipeline_lateness.row_count is 'How many rows these windows have by their newest counts.';
comment on column record_ledger.pipeline_lateness.min_lateness is 'The least time from the end of a window to its count of this age; null without windows.';
comment on column record_ledger.pipeline_lateness.max_lateness is 'The greatest time from the end of a window to its count of this age: no later count is needed to miss no more.';
comment on column record_ledger.pipeline_lateness.missed_share is 'The share of all rows that came later than the counts of this age; null when drawn from less than 20 windows.';
comment on column record_ledger.pipeline_lateness.worst_missed_share is 'The same of the window that missed most.';
-- record_ledger.pipeline_progress: where each pipeline stands, right now.
-- One row per pipeline that is not retired: its answer to a run, its open records by state, how far behind it is.
-- Read by: status of the runner, the dbt source of the same name, analysts.
-- Rules: pipeline_answer, first_window_start, next_window, open_windows, is_at_risk.
create or replace view record_ledger.pipeline_progress as
select
    p.pipeline_id,
    p.timezone,
    answer.verdict,
    answer.reason,
    answer.ready_at,
    case when answer.verdict = 'READY' then answer.window_start_time end as oldest_valid_window,
    lanes.pending_count,
    lanes.incomplete_count,
    lanes.in_progress_count,
    lanes.failed_count,
    coalesce(lanes.earliest_open, upcoming.window_start_time) as done_until,
    stored.last_window_end_time,
    upcoming.window_start_time as next_window_start_time,
    upcoming.window_start_time + p.x_time_back as next_window_due_at,
    greatest(
        moment.as_of - p.x_time_back - coalesce(
            (
                select r.window_end_time
                from record_ledger.record as r
                where r.pipeline_id = p.pipeline_id and r.window_start_time = lanes.earliest_open
            ),
            next_window.window_end_time
        ),
        interval '0'
    ) as lag,
    case
        when p.source_retention is not null then (
            select count(*)
            from record_ledger.open_windows(p, moment.as_of) as k
            where record_ledger.is_at_risk(k.window_end_time, p, moment.as_of)
        )
        else 0
    end as at_risk_count,
    (
        select coalesce(sum((e.detail -> 'count')::bigint), 0)::bigint
        from record_ledger.pipeline_event as e
        where e.pipeline_id = p.pipeline_id and e.event = 'lost'
    ) as lost_count
-- One instant for the whole statement; offset 0 keeps the planner from asking the clock once per pipeline.
from (select record_ledger.clock() as as_of offset 0) as moment
cross join record_ledger.pipeline as p
cross join lateral record_ledger.pipeline_answer(p, moment.as_of) as answer
cross join lateral (
    select
        coalesce(
            sum(l.records) filter (where l.lane not in ('active', 'failed')), 0
        )::bigint as pending_count,
        -- Outdated ones count by what default_record fills; else only those are complete that callers filled.
        case
            when p.missing_fields is null
                then coalesce(
                    sum(l.records) filter (
                        where l.lane like 'incomplete%'
                        and l.lane >= 'incomplete' || lpad(p.fields_version::text, 10, '0')
                    ),
                    0
                )::bigint
            else coalesce(
                sum(l.records) filter (where l.lane not in ('active', 'failed')), 0
            )::bigint - (
                select count(*)
                from record_ledger.record as f
                where f.open_pipeline_id = p.pipeline_id
                    and f.lane in ('historical', 'retry', 'retryh', 'returned', 'waiting')
                    and f.window_start_time >= coalesce(p.filled_from, 'infinity')
                    and f.config_version >= p.fields_version
            )
        end as incomplete_count,
        coalesce(sum(l.records) filter (where l.lane = 'active'), 0)::bigint as in_progress_count,
        coalesce(sum(l.records) filter (where l.lane = 'failed'), 0)::bigint as failed_count,
        min(l.earliest) as earliest_open
    from (
        select
            o.lane,
            count(*) as records,
            min(o.window_start_time) as earliest
        from record_ledger.record as o
        where o.open_pipeline_id = p.pipeline_id
        group by o.lane
    ) as l
) as lanes
left join lateral (
    select n.window_end_time as last_window_end_time
    from record_ledger.record as n
    where n.pipeline_id = p.pipeline_id
    order by n.window_start_time desc
    limit 1
) as stored on true
cross join lateral (
    select
        coalesce(
            stored.last_window_end_time,
            record_ledger.first_window_start(p, moment.as_of)
        ) as window_start_time
    offset 0
) as upcoming
cross join lateral record_ledger.next_window(
    upcoming.window_start_time, p.granularity, p.timezone
) as next_window
where not p.is_retired;
comment on view record_ledger.pipeline_progress is
'Where each pipeline stands, right now: one row per pipeline that is not retired, with its answer to a run, its open records and its lag.';
comment on column record_ledger.pipeline_progress.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.pipeline_progress.timezone is 'The IANA time zone of the pipeline.';
comment on column record_ledger.pipeline_progress.verdict is 'What a new run would be answered: READY, or the verdict that a pass would exit with.';
comment on column record_ledger.pipeline_progress.reason is 'One sentence that says why.';
comment on column record_ledger.pipeline_progress.ready_at is 'When the record that decides the verdict can be passed as things stand; null when that depends on somebody.';
comment on column record_ledger.pipeline_progress.oldest_valid_window is 'The start of the window that would be passed next; null when there is none.';
comment on column record_ledger.pipeline_progress.pending_count is 'How many stored records are PENDING, incomplete ones included.';
comment on column record_ledger.pipeline_progress.incomplete_count is 'How many stored records are PENDING and incomplete.';
comment on column record_ledger.pipeline_progress.in_progress_count is 'How many records are IN_PROGRESS.';
comment on column record_ledger.pipeline_progress.failed_count is 'How many records are FAILED.';
comment on column record_ledger.pipeline_progress.done_until is 'Every window before this instant is completed or waived.';
comment on column record_ledger.pipeline_progress.last_window_end_time is 'The end of the newest stored window; null when none is stored.';
comment on column record_ledger.pipeline_progress.next_window_start_time is 'Where the first window that is not stored yet starts.';
comment on column record_ledger.pipeline_progress.next_window_due_at is 'After this instant the next window is due to be stored.';
comment on column record_ledger.pipeline_progress.lag is 'How long ago the oldest window that is not done, stored or not, became stable; 0 when none is.';
comment on column record_ledger.pipeline_progress.at_risk_count is 'How many windows are open, or due and not stored yet, while no more than at_risk_within of their source data''s time is left.';
comment on column record_ledger.pipeline_progress.lost_count is 'How many records passes have waived as lost so far.';
-- record_ledger.pipeline_records: the ledger itself, for analysts.
-- One row per record: its window, its status and its fields; key_x, key_y and key_z are the fields of those names.
-- Read by: the dbt source of the same name, analysts.
-- Rules: time_interval, sees_tokens.
create or replace view record_ledger.pipeline_records as
select
    r.pipeline_id,
    r.target_day,
    r.window_start_time,
    r.window_end_time,
    record_ledger.time_interval(r.window_start_time, r.window_end_time) as time_interval,
    r.status,
    r.fields ->> 'key_x' as key_x,
    r.fields ->> 'key_y' as key_y,
    r.fields ->> 'key_z' as key_z,
    r.created_at,
    r.updated_at,
    r.fields,
    r.generation,
    r.attempt,
    case
        when r.status <> 'IN_PROGRESS' or (select record_ledger.sees_tokens()) then r.claim_token
    end as claim_token,
    r.run_id,
    r.lease_expires_at,
    r.retry_at,
    -- An outdated record that is still open is built before it is passed: what default_record leaves empty counts.
    case
        when r.open_pipeline_id is null then r.missing_fields
        else (
            select
                case
                    when r.config_version >= p.fields_version then r.missing_fields
                    else p.missing_fields
                end
            from record_ledger.pipeline as p
            where p.pipeline_id = r.pipeline_id
        )
    end as missing_fields,
    r.config_version,
    r.last_event,
    r.last_detail,
    -- A waiver publishes nothing and unpublishes nothing, and neither does an attempt that fails.
    case
        when r.status = 'COMPLETED' then r.generation
        when r.generation > 1
            then (
                select max(e.generation)
                from record_ledger.record_event as e
                where e.pipeline_id = r.pipeline_id
                    and e.window_start_time = r.window_start_time
                    and e.event = 'completed'
            )
    end as published_generation,
    r.counts_waived,
    (
        select z.timezone
        from record_ledger.pipeline_zone as z
        where z.pipeline_id = r.pipeline_id and z.from_time <= r.window_start_time
        order by z.from_time desc
        limit 1
    ) as window_timezone,
    coalesce(
        r.config_version < (
            select p.fields_version
            from record_ledger.pipeline as p
            where p.pipeline_id = r.pipeline_id
        ),
        true
    ) as is_outdated
from record_ledger.record as r;
comment on view record_ledger.pipeline_records is
'The ledger: one row per record, that is per window of a pipeline, with its status and fields.';
comment on column record_ledger.pipeline_records.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.pipeline_records.target_day is 'The local day of the window''s start.';
comment on column record_ledger.pipeline_records.window_start_time is 'The first instant of the window.';
comment on column record_ledger.pipeline_records.window_end_time is 'The first instant after the window.';
comment on column record_ledger.pipeline_records.time_interval is 'The actual length of the window, hours the largest unit.';
comment on column record_ledger.pipeline_records.status is 'PENDING, IN_PROGRESS, COMPLETED, FAILED or WAIVED.';
comment on column record_ledger.pipeline_records.key_x is 'The field key_x of the record.';
comment on column record_ledger.pipeline_records.key_y is 'The field key_y of the record.';
comment on column record_ledger.pipeline_records.key_z is 'The field key_z of the record.';
comment on column record_ledger.pipeline_records.created_at is 'When the record was stored.';
comment on column record_ledger.pipeline_records.updated_at is 'When the newest event of the record happened, or else when it was stored.';
comment on column record_ledger.pipeline_records.fields is 'The record''s own fields.';
comment on column record_ledger.pipeline_records.generation is 'Counts from 1; one more each time the record is reopened.';
comment on column record_ledger.pipeline_records.attempt is 'How many attempts of this generation have begun.';
comment on column record_ledger.pipeline_records.claim_token is 'The token of the newest claim; null while the record is pending, and to those who are no runners while it is in progress.';
comment on column record_ledger.pipeline_records.run_id is 'The run of the newest claim; null while the record is pending.';
comment on column record_ledger.pipeline_records.lease_expires_at is 'When the claim of a record in progress ends without a heartbeat.';
comment on column record_ledger.pipeline_records.retry_at is 'Until when a failed attempt, or a release with not_before, keeps the record from being passed.';
comment on column record_ledger.pipeline_records.missing_fields is 'The fields that are empty but must not be; null when the record is complete.';
comment on column record_ledger.pipeline_records.config_version is 'The version of the config the fields were built with; null when they are unbuilt.';
comment on column record_ledger.pipeline_records.last_event is 'The newest event of the record; null when it was only stored.';
comment on column record_ledger.pipeline_records.last_detail is 'What the newest event says: an error, a reason, counts.';
comment on column record_ledger.pipeline_records.published_generation is
'The newest generation that was completed: it is published until a later one is completed; null when none was.';
comment on column record_ledger.pipeline_records.counts_waived is 'Whether somebody has waived the counts of this generation.';
comment on column record_ledger.pipeline_records.window_timezone is 'The IANA time zone that the window was cut with.';
comment on column record_ledger.pipeline_records.is_outdated is
'Whether the fields were built before default_record or check_fields last changed, or never; a pass builds a pending record first.';
-- record_ledger.pipelines: the registered pipelines and the config each has in force.
-- One row per pipeline, durations as intervals, defaults filled in.
-- Read by: the doctor of the runner, the dbt source of the same name, analysts.
-- Rules: none.
create or replace view record_ledger.pipelines as
select
    p.pipeline_id,
    p.timezone,
    p.x_time_back,
    p.granularity,
    p.check_fields,
    p.start_at,
    p.max_active_records,
    p.depends_on_past,
    p.lease,
    p.max_attempts,
    p.retry_delay,
    p.config -> 'default_record' as default_record,
    p.config_version,
    p.paused_at,
    p.paused_by,
    p.pause_reason,
    p.created_at,
    p.updated_at,
    p.backfill_share,
    p.is_retired,
    p.required_counts,
    p.source_retention,
    p.at_risk_within,
    p.pass_order,
    p.recount_ages,
    p.reopen_budget,
    p.fields_version,
    p.owner_role
from record_ledger.pipeline as p;
comment on view record_ledger.pipelines is
'The registered pipelines: one row per pipeline with the config in force.';
comment on column record_ledger.pipelines.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.pipelines.timezone is 'The IANA time zone whose midnights cut the windows.';
comment on column record_ledger.pipelines.x_time_back is 'How long after its end the data of a window needs to settle.';
comment on column record_ledger.pipelines.granularity is 'The length of a window; from 24 hours on, the local day.';
comment on column record_ledger.pipelines.check_fields is 'The fields that must be non-empty in a complete record.';
comment on column record_ledger.pipelines.start_at is 'Where the first window starts, when the config says so; it stays once there are records.';
comment on column record_ledger.pipelines.max_active_records is 'How many records may be in progress at once; null is no limit.';
comment on column record_ledger.pipelines.depends_on_past is 'Whether a record waits until all earlier ones are completed or waived.';
comment on column record_ledger.pipelines.lease is 'How long a passed record stays claimed without a heartbeat.';
comment on column record_ledger.pipelines.max_attempts is 'How many attempts a record has per generation.';
comment on column record_ledger.pipelines.retry_delay is 'The backoff after the first failed attempt, doubled after each further one.';
comment on column record_ledger.pipelines.default_record is 'The fields of new records, templates unrendered.';
comment on column record_ledger.pipelines.config_version is 'Counts the configs the pipeline has had.';
comment on column record_ledger.pipelines.paused_at is 'Since when the pipeline is paused; null when it is not.';
comment on column record_ledger.pipelines.paused_by is 'Who paused the pipeline.';
comment on column record_ledger.pipelines.pause_reason is 'Why the pipeline is paused.';
comment on column record_ledger.pipelines.created_at is 'When the pipeline was registered.';
comment on column record_ledger.pipelines.updated_at is 'When the pipeline last changed.';
comment on column record_ledger.pipelines.backfill_share is 'The least share of passes of backfilled and reopened records while live ones wait too; 0 is oldest first.';
comment on column record_ledger.pipelines.is_retired is 'Whether the pipeline was retired: nothing is stored or passed any more, and no status speaks of it.';
comment on column record_ledger.pipelines.required_counts is 'The stages whose counts must agree before a record is completed, and the tolerance; null is none.';
comment on column record_ledger.pipelines.source_retention is 'How long after a window''s end its source data is kept; null when nothing is said.';
comment on column record_ledger.pipelines.at_risk_within is 'How long before its source data goes an open record is at risk; null without source_retention.';
comment on column record_ledger.pipelines.pass_order is 'oldest, or deadline: what is at risk goes before the turns of a backfill_share.';
comment on column record_ledger.pipelines.recount_ages is 'How long after its first count the source of a completed window is to be counted again, ascending.';
comment on column record_ledger.pipelines.reopen_budget is 'How many records reopen_changed_records may reopen in one local day.';
comment on column record_ledger.pipelines.fields_version is
'The config_version at which default_record or check_fields last changed: records that were built before it are outdated.';
comment on column record_ledger.pipelines.owner_role is 'The role whose members alone act in the pipeline; null when it is every runner''s.';
-- record_ledger.record_events: the life of each record, one row per change of its state.
-- Rows are numbered per record and never rewritten; they leave for the archive only with their record. Storing a record
-- and heartbeats are no events.
-- Read by: history and why of the runner, the dbt source of the same name, analysts.
-- Rules: sees_tokens.
create or replace view record_ledger.record_events as
select
    e.pipeline_id,
    e.window_start_time,
    e.event_no,
    e.event_time,
    e.event,
    e.from_status,
    e.to_status,
    e.generation,
    e.attempt,
    case
        when (select record_ledger.sees_tokens())
            or not exists (
                select
                from record_ledger.record as c
                where c.pipeline_id = e.pipeline_id
                    and c.window_start_time = e.window_start_time
                    and c.claim_token = e.claim_token
                    and c.status = 'IN_PROGRESS'
            )
            then e.claim_token
    end as claim_token,
    e.run_id,
    e.actor,
    e.detail
from record_ledger.record_event as e;
comment on view record_ledger.record_events is
'The history: one row per change of a record, never rewritten; archived_record_events has that of archived records.';
comment on column record_ledger.record_events.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.record_events.window_start_time is 'The window of the record that changed.';
comment on column record_ledger.record_events.event_no is 'Numbers the events of a record from 1 on.';
comment on column record_ledger.record_events.event_time is 'When the change was made.';
comment on column record_ledger.record_events.event is
'passed, passed_again, completed, failed, released, lease_expired, cancelled, waived, reopened, rebuilt or counts_waived.';
comment on column record_ledger.record_events.from_status is 'The status before the change.';
comment on column record_ledger.record_events.to_status is 'The status after the change.';
comment on column record_ledger.record_events.generation is 'The generation the change belongs to.';
comment on column record_ledger.record_events.attempt is 'The attempt the change belongs to.';
comment on column record_ledger.record_events.claim_token is 'The claim that made the change or was ended by it; null to those who are no runners while that claim is current.';
comment on column record_ledger.record_events.run_id is 'The run of that claim.';
comment on column record_ledger.record_events.actor is 'The database role that made the change.';
comment on column record_ledger.record_events.detail is 'What the change says: an error, a reason, counts, the fields before.';
-- record_ledger.record_observations: what was counted of each record, at each stage, whenever it was.
-- Rows are numbered per record and never rewritten; they leave for the archive only with their record.
-- Read by: history of the runner, the dbt source of the same name, analysts.
-- Rules: sees_tokens.
create or replace view record_ledger.record_observations as
select
    o.pipeline_id,
    o.window_start_time,
    o.observation_no,
    o.observed_at,
    o.stage,
    o.row_count,
    o.detail,
    o.generation,
    case
        when (select record_ledger.sees_tokens())
            or not exists (
                select
                from record_ledger.record as c
                where c.pipeline_id = o.pipeline_id
                    and c.window_start_time = o.window_start_time
                    and c.claim_token = o.claim_token
                    and c.status = 'IN_PROGRESS'
            )
            then o.claim_token
    end as claim_token,
    o.run_id,
    o.actor,
    o.adopted_no,
    not exists (
        select
        from record_ledger.record_observation as n
        where n.pipeline_id = o.pipeline_id
            and n.window_start_time = o.window_start_time
            and n.observation_no > o.observation_no
            and n.claim_token = o.claim_token
            and n.stage = o.stage
    )
    and (
        exists (
            select
            from record_ledger.record as r
            where r.pipeline_id = o.pipeline_id
                and r.window_start_time = o.window_start_time
                and r.claim_token = o.claim_token
                and r.status = 'IN_PROGRESS'
        )
        or exists (
            select
            from record_ledger.record_event as e
            where e.pipeline_id = o.pipeline_id
                and e.window_start_time = o.window_start_time
                and e.claim_token = o.claim_token
                and e.event = 'completed'
        )
    ) as is_evidence
from record_ledger.record_observation as o;
comment on view record_ledger.record_observations is
'The counts of each record: one row per observation, never rewritten; archived_record_observations has those of archived records.';
comment on column record_ledger.record_observations.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.record_observations.window_start_time is 'The window of the record that was counted.';
comment on column record_ledger.record_observations.observation_no is 'Numbers the observations of a record from 1 on.';
comment on column record_ledger.record_observations.observed_at is 'When the count was noted.';
comment on column record_ledger.record_observations.stage is 'Where it was counted: source, stage, target or a name of the team''s own.';
comment on column record_ledger.record_observations.row_count is 'How many rows were counted.';
comment on column record_ledger.record_observations.detail is 'What else was observed: bytes, digests.';
comment on column record_ledger.record_observations.generation is 'The generation that the record was in.';
comment on column record_ledger.record_observations.claim_token is 'The claim under which it was counted, current at the time; null when it was counted without one, and to those who are no runners while it is current still.';
comment on column record_ledger.record_observations.run_id is 'The run of that claim.';
comment on column record_ledger.record_observations.actor is 'The database role that noted it.';
comment on column record_ledger.record_observations.adopted_no is 'The observation of an earlier claim that this one takes over; null when it was counted anew.';
comment on column record_ledger.record_observations.is_evidence is
'Whether completing goes by it, or went by it: the newest of its stage under the claim that holds or completed the generation.';
-- record_ledger.record_verdicts: why each open record is passed or not, right now.
-- One row per open record (PENDING, IN_PROGRESS or FAILED) with exactly one verdict and a sentence that says why.
-- Read by: why of the runner, validate_record_timing, the dbt source of the same name, analysts.
-- Rules: record_verdict, open_counts_problem, is_lost.
create or replace view record_ledger.record_verdicts as
select
    p.pipeline_id,
    r.window_start_time,
    r.window_end_time,
    r.target_day,
    r.status,
    v.verdict,
    v.reason,
    v.ready_at,
    case
        when r.config_version >= p.fields_version then r.missing_fields
        else p.missing_fields
    end as missing_fields,
    r.generation,
    r.attempt,
    r.run_id,
    r.lease_expires_at,
    case
        when r.status = 'IN_PROGRESS' and r.needs_counts and not r.counts_waived
            then record_ledger.open_counts_problem(r.pipeline_id, r.window_start_time)
    end as counts_problem,
    record_ledger.window_timezone(p, r.window_start_time) as window_timezone,
    coalesce(r.config_version < p.fields_version, true) as is_outdated
-- One instant for the whole statement; offset 0 keeps the planner from asking the clock once per record.
from (select record_ledger.clock() as as_of offset 0) as moment
cross join record_ledger.pipeline as p
cross join lateral (
    select
        min(o.window_start_time) filter (
            where p.depends_on_past
            -- Lost ones hold up nothing: the next pass waives them.
            and (
                not record_ledger.is_lost(o.window_end_time, p.source_retention, moment.as_of)
                or o.lane = 'active' and o.lease_expires_at > moment.as_of
            )
        ) as earliest_open,
        count(*) filter (
            where o.lane = 'active' and o.lease_expires_at > moment.as_of
        ) as active_count
    from record_ledger.record as o
    where o.open_pipeline_id = p.pipeline_id
        and (p.depends_on_past or p.max_active_records is not null)
    -- Kept apart, so that it is reckoned once per pipeline and not once per record.
    offset 0
) as others
join record_ledger.record as r on r.open_pipeline_id = p.pipeline_id
cross join lateral record_ledger.record_verdict(
    r, p, others.earliest_open, others.active_count, moment.as_of
) as v;
comment on view record_ledger.record_verdicts is
'Why each open record is passed or not, right now: one row per open record with one verdict and one sentence.';
comment on column record_ledger.record_verdicts.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.record_verdicts.window_start_time is 'The first instant of the window.';
comment on column record_ledger.record_verdicts.window_end_time is 'The first instant after the window.';
comment on column record_ledger.record_verdicts.target_day is 'The local day of the window''s start.';
comment on column record_ledger.record_verdicts.status is 'PENDING, IN_PROGRESS or FAILED.';
comment on column record_ledger.record_verdicts.verdict is
'LEASE_EXPIRED, LEASED, LOST, FAILED, PAUSED, INCOMPLETE, UNSTABLE, BACKOFF, BLOCKED, AT_CAPACITY or READY: the first that holds.';
comment on column record_ledger.record_verdicts.reason is 'One sentence that says why.';
comment on column record_ledger.record_verdicts.ready_at is 'When the record can be passed as things stand; null when that depends on somebody.';
comment on column record_ledger.record_verdicts.missing_fields is 'The fields that are empty but must not be; null when the record is complete.';
comment on column record_ledger.record_verdicts.generation is 'Counts from 1; one more each time the record is reopened.';
comment on column record_ledger.record_verdicts.attempt is 'How many attempts of this generation have begun.';
comment on column record_ledger.record_verdicts.run_id is 'The run that holds the record; null while it is pending.';
comment on column record_ledger.record_verdicts.lease_expires_at is 'When the claim of a record in progress ends without a heartbeat.';
comment on column record_ledger.record_verdicts.counts_problem is 'Why a record in progress could not be completed now by its counts; null when nothing is required or missing.';
comment on column record_ledger.record_verdicts.window_timezone is 'The IANA time zone that the window was cut with.';
comment on column record_ledger.record_verdicts.is_outdated is
'Whether the fields were built before default_record or check_fields last changed, or never; a pass builds a pending record first.';
-- record_ledger.records_as_of: the ledger as it stood at an instant, archived records included.
-- One row per record that was stored by then, as its newest event until then left it. By the ledger's own times: a
-- change made before the instant and committed after it is in. PostgreSQL takes the query below into the one around
-- it, so what is asked of one pipeline or one window is looked up for that one only.
-- Read by: as-of of the runner, analysts. Rules: none; it undoes what check_record_change did with each event.
-- Types are exact (README.md, Names).
create or replace function record_ledger.records_as_of(at timestamptz)
returns table (
    pipeline_id text,
    target_day date,
    window_start_time timestamptz,
    window_end_time timestamptz,
    time_interval text,
    status text,
    created_at timestamptz,
    updated_at timestamptz,
    fields jsonb,
    generation integer,
    attempt integer,
    claim_token bigint,
    run_id text,
    config_version integer,
    last_event text,
    last_detail jsonb
)
language sql
stable
as $$
    select
        r.pipeline_id,
        r.target_day,
        r.window_start_time,
        r.window_end_time,
        r.time_interval,
        case when r.is_as_now then r.status else coalesce(e.to_status, 'PENDING') end as status,
        r.created_at,
        case
            when r.is_as_now then r.updated_at
            else coalesce(e.event_time, r.created_at)
        end as updated_at,
        case
            when b.event_no is null then r.fields
            -- Until 0.4.0 an event held all fields.
            when b.event = 'rebuilt'::text and not b.detail ? 'fields_added'::text
                then b.detail -> 'fields_before'::text
            when c.names is null then r.fields
            else (r.fields - c.names) || coalesce(c.fields_before, '{}'::jsonb)
        end as fields,
        case when r.is_as_now then r.generation else coalesce(e.generation, 1) end as generation,
        case
            when r.is_as_now then r.attempt
            -- A released attempt is told in its event, but the record does not count it.
            else coalesce(e.attempt - (e.event = 'released')::integer, 0)
        end as attempt,
        case
            when r.is_as_now then r.claim_token
            when e.to_status <> 'PENDING' then e.claim_token
        end as claim_token,
        case
            when r.is_as_now then r.run_id
            when e.to_status <> 'PENDING' then e.run_id
        end as run_id,
        case
            when b.event_no is null then r.config_version
            else (b.detail ->> 'config_version_before'::text)::integer
        end as config_version,
        case when r.is_as_now then r.last_event else e.event end as last_event,
        case
            when r.is_as_now then r.last_detail
            when e.event not in ('passed', 'passed_again') or e.detail <> '{}'::jsonb
                then e.detail
        end as last_detail
    from (
        select
            l.pipeline_id, l.target_day, l.window_start_time, l.window_end_time, l.time_interval,
            l.status, l.created_at, l.updated_at, l.fields, l.generation, l.attempt, l.claim_token,
            l.run_id, l.config_version, l.last_event, l.last_detail,
            -- Its newest event is that old: no other has to be looked for.
            l.updated_at <= records_as_of.at as is_as_now
        from record_ledger.pipeline_records as l
        union all
        select
            a.pipeline_id, a.target_day, a.window_start_time, a.window_end_time, a.time_interval,
            a.status, a.created_at, a.updated_at, a.fields, a.generation, a.attempt, a.claim_token,
            a.run_id, a.config_version, a.last_event, a.last_detail,
            a.updated_at <= records_as_of.at
        from record_ledger.archived_records as a
    ) as r
    left join lateral (
        select
            v.event_time, v.event, v.to_status, v.generation, v.attempt, v.claim_token, v.run_id,
            v.detail
        from (
            select
                l.pipeline_id, l.window_start_time, l.event_no, l.event_time, l.event, l.to_status,
                l.generation, l.attempt, l.claim_token, l.run_id, l.detail
            from record_ledger.record_events as l
            union all
            select
                a.pipeline_id, a.window_start_time, a.event_no, a.event_time, a.event, a.to_status,
                a.generation, a.attempt, a.claim_token, a.run_id, a.detail
            from record_ledger.archived_record_events as a
        ) as v
        where not r.is_as_now
            and v.pipeline_id = r.pipeline_id and v.window_start_time = r.window_start_time
            and v.event_time <= records_as_of.at
        order by v.event_no desc
        limit 1
    ) as e on true
    -- The first building after the instant knows what was there before; one that changed no field stands in its pass.
    left join lateral (
        select v.event_no, v.event, v.detail
        from (
            select
                l.pipeline_id, l.window_start_time, l.event_no, l.event_time, l.event, l.detail
            from record_ledger.record_events as l
            union all
            select
                a.pipeline_id, a.window_start_time, a.event_no, a.event_time, a.event, a.detail
            from record_ledger.archived_record_events as a
        ) as v
        where not r.is_as_now
            and v.pipeline_id = r.pipeline_id and v.window_start_time = r.window_start_time
            and v.event_time > records_as_of.at
            and v.event in ('rebuilt', 'passed') and v.detail ? 'config_version_before'::text
        order by v.event_no
        limit 1
    ) as b on true
    -- Of each field that was changed since, the value before the first of these changes; none where it was added.
    left join lateral (
        select
            pg_catalog.array_agg(f.name) as names,
            pg_catalog.jsonb_object_agg(f.name, f.value) filter (
                where f.value is not null
            ) as fields_before
        from (
            select distinct on (k.name) k.name, k.value
            from (
                select
                    l.pipeline_id, l.window_start_time, l.event_no, l.event_time, l.event, l.detail
                from record_ledger.record_events as l
                union all
                select
                    a.pipeline_id, a.window_start_time, a.event_no, a.event_time, a.event, a.detail
                from record_ledger.archived_record_events as a
            ) as v
            cross join lateral (
                select o.key as name, o.value
                from pg_catalog.jsonb_each(v.detail -> 'fields_before'::text) as o
                union all
                select n.name, null::jsonb as value
                from pg_catalog.jsonb_array_elements_text(
                    v.detail -> 'fields_added'::text
                ) as n (name)
            ) as k
            where b.event_no is not null
                and v.pipeline_id = r.pipeline_id and v.window_start_time = r.window_start_time
                and v.event_no >= b.event_no
                and v.event = 'rebuilt' and v.detail ? 'fields_added'::text
            order by k.name, v.event_no
        ) as f
    ) as c on true
    where r.created_at <= records_as_of.at
$$;
comment on function record_ledger.records_as_of(timestamptz) is
'The ledger as it stood at an instant: one row per record stored by then, archived ones included, as its events tell it.';
-- record_ledger.records_at_risk: how long the source data of each open window is still there, right now.
-- One row per open record, and per window that is due and not stored yet, of the pipelines with a source_retention.
-- Read by: at-risk of the runner, the dbt source of the same name, analysts.
-- Rules: open_windows, is_at_risk.
create or replace view record_ledger.records_at_risk as
select
    p.pipeline_id,
    w.window_start_time,
    w.window_end_time,
    w.target_day,
    w.status,
    w.window_end_time + p.source_retention as source_kept_until,
    -- Without the day part that the difference of two instants has: it would follow the session's time zone.
    extract(epoch from w.window_end_time + p.source_retention - moment.as_of)
    * interval '1 second' as time_left,
    record_ledger.is_at_risk(w.window_end_time, p, moment.as_of) as is_at_risk,
    case
        when w.status is null then p.timezone
        else record_ledger.window_timezone(p, w.window_start_time)
    end as window_timezone
-- One instant for the whole statement; offset 0 keeps the planner from asking the clock once per record.
from (select record_ledger.clock() as as_of offset 0) as moment
cross join record_ledger.pipeline as p
cross join lateral record_ledger.open_windows(p, moment.as_of) as w
where p.source_retention is not null and not p.is_retired;
comment on view record_ledger.records_at_risk is
'How long the source data of each open window is still there, right now: one row per open record or due window of a pipeline with a source_retention.';
comment on column record_ledger.records_at_risk.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.records_at_risk.window_start_time is 'The first instant of the window.';
comment on column record_ledger.records_at_risk.window_end_time is 'The first instant after the window.';
comment on column record_ledger.records_at_risk.target_day is 'The local day of the window''s start.';
comment on column record_ledger.records_at_risk.status is 'PENDING, IN_PROGRESS or FAILED; null when the window is due and not stored yet.';
comment on column record_ledger.records_at_risk.source_kept_until is 'The first instant at which its source data is gone.';
comment on column record_ledger.records_at_risk.time_left is 'How long until then; below 0 when it is gone, and the next pass waives what no run holds.';
comment on column record_ledger.records_at_risk.is_at_risk is 'Whether no more than at_risk_within is left.';
comment on column record_ledger.records_at_risk.window_timezone is 'The IANA time zone that the window was cut with, or will be.';
-- record_ledger grants: who may do what; applied on every deploy.
-- record_ledger_reader reads the public views and asks the rules; record_ledger_runner also runs the routines.
-- Applied by: every deploy. Nobody but the owner has rights on the tables.
-- Rules: every function that a view calls must be executable by the view's readers.
do $$
declare
    v_right record;
    v_others text[] := '{}';
begin
    -- Granted by hand, or by the owner's default privileges: to write past the routines, or to hang a trigger on a
    -- table, which runs as the owner. A backup's right to read stays.
    for v_right in
        select distinct
            c.oid::regclass as relation,
            a.privilege_type as name,
            c.relkind,
            case a.grantee
                when 0 then 'public'
                else quote_ident(pg_get_userbyid(a.grantee))
            end as grantee
        from pg_class as c
        cross join lateral (
            select x.grantee, x.privilege_type
            from aclexplode(c.relacl) as x
            union
            select x.grantee, x.privilege_type
            from pg_attribute as t
            cross join lateral aclexplode(t.attacl) as x
            where t.attrelid = c.oid
        ) as a
        where c.relnamespace = to_regnamespace('record_ledger') and a.grantee <> c.relowner
            and a.privilege_type <> 'SELECT'
    loop
        execute format(
            'revoke %s on %s %s from %s cascade',
            v_right.name,
            case v_right.relkind when 'S' then 'sequence' else 'table' end,
            v_right.relation,
            v_right.grantee
        );
        if v_right.grantee not in ('public', 'record_ledger_reader', 'record_ledger_runner') then
            v_others := v_others || v_right.grantee;
        end if;
    end loop;
    if cardinality(v_others) > 0 then
        raise warning
            'rights to change the ledger''s tables are taken from %: grant record_ledger_runner.',
            (select string_agg(distinct o, ', ') from unnest(v_others) as o);
    end if;
end
$$;

do $$
declare
    v_role text;
    v_object text;
begin
    -- What earlier releases granted and this one does not must not stay.
    revoke all on all tables in schema record_ledger from public;
    revoke all on all sequences in schema record_ledger from public;
    revoke all on all routines in schema record_ledger from public;
    foreach v_role in array array['record_ledger_reader', 'record_ledger_runner'] loop
        -- roles.sql has said so.
        continue when to_regrole(v_role) is null;
        execute format('revoke all on all tables in schema record_ledger from %I', v_role);
        execute format('revoke all on all routines in schema record_ledger from %I', v_role);
        execute format('grant usage on schema record_ledger to %I', v_role);
        foreach v_object in array array[
            'archived_record_events',
            'archived_record_observations',
            'archived_records',
            'changed_records',
            'daily_coverage',
            'oldest_valid_record',
            'pipeline_events',
            'pipeline_lateness',
            'pipeline_progress',
            'pipeline_records',
            'pipelines',
            'record_events',
            'record_observations',
            'record_verdicts',
            'records_at_risk'
        ] loop
            execute format('grant select on record_ledger.%I to %I', v_object, v_role);
        end loop;
        foreach v_object in array array[
            'attempt_ending(text, jsonb)',
            'clock()',
            'config_keys()',
            'config_problems(jsonb, boolean, boolean)',
            'count_tolerance(text, bigint)',
            'day_coverage(record_ledger.pipeline, date)',
            'day_start(date, text)',
            'days_with_windows(record_ledger.pipeline)',
            'deployed_release()',
            'duration(text)',
            'edit_distance(text, text)',
            'is_complete(jsonb, text[])',
            'is_stage(text)',
            'is_at_risk(timestamptz, record_ledger.pipeline, timestamptz)',
            'is_lost(timestamptz, interval, timestamptz)',
            'is_stable(timestamptz, interval, timestamptz)',
            'instant(text)',
            'half_of_time_left(timestamptz, record_ledger.pipeline, timestamptz)',
            'iso_time(timestamptz)',
            'known_config(jsonb)',
            'lateness(record_ledger.pipeline)',
            'ledger_columns()',
            'local_day(timestamptz, text)',
            'local_instant(timestamp, text)',
            'local_instants(timestamp, text)',
            'local_time(timestamptz, text)',
            'missing_fields(jsonb, text[])',
            'near_names(text, text[])',
            'pipeline_answer(record_ledger.pipeline, timestamptz)',
            'first_window_start(record_ledger.pipeline, timestamptz)',
            'is_within_day(timestamptz, timestamp, interval, text)',
            'next_window(timestamptz, interval, text)',
            'required_counts_problems(jsonb)',
            'open_counts_problem(text, timestamptz)',
            'open_windows(record_ledger.pipeline, timestamptz)',
            'record_verdict(record_ledger.record, record_ledger.pipeline, timestamptz, bigint, '
            'timestamptz)',
            'recount_problems(jsonb)',
            'retention_problems(jsonb)',
            'retry_time(timestamptz, integer, timestamptz, record_ledger.pipeline)',
            'sees_tokens()',
            'is_ledger_owner(name)',
            'shortened(text, integer)',
            'json_problem(jsonb, integer)',
            'start_instant(text, text)',
            'stretch_timezone(text, timestamptz)',
            'time_interval(timestamptz, timestamptz)',
            'twofold_time(text, text)',
            'unstable_reason(timestamptz, timestamptz, interval, text)',
            'wall_time(text)',
            'window_timezone(record_ledger.pipeline, timestamptz)',
            'archivable_records(text, timestamptz, integer)',
            'new_windows(text, timestamptz, integer)',
            'oldest_pending_record(text)',
            'plan_runs(text, integer, timestamptz, integer, interval)',
            'pipeline_time(text, text)',
            'window_time(text, text)',
            'range_effects(text, text, timestamptz, timestamptz)',
            'is_day_sealed(text, date)',
            'recount_due(text)',
            'suggest_x_time_back(text, numeric)',
            'records_as_of(timestamptz)'
        ] loop
            execute format('grant execute on function record_ledger.%s to %I', v_object, v_role);
        end loop;
    end loop;
    if to_regrole('record_ledger_runner') is not null then
        grant execute on routine
        record_ledger.register_pipeline(jsonb),
        record_ledger.store_new_records(text, jsonb, integer),
        record_ledger.pass_valid_record(text, text),
        record_ledger.store_new_and_pass_valid_record(jsonb, text, jsonb),
        record_ledger.pass_valid_records(jsonb, text, integer, jsonb),
        record_ledger.complete_record(text, bigint, jsonb, timestamptz),
        record_ledger.complete_and_pass(text, bigint, text, jsonb, timestamptz),
        record_ledger.complete_records(text, bigint[], jsonb[], timestamptz[]),
        record_ledger.fail_record(text, bigint, text, boolean, timestamptz),
        record_ledger.release_record(text, bigint, timestamptz, timestamptz),
        record_ledger.extend_lease(text, bigint, timestamptz),
        record_ledger.claim_state(text, bigint),
        record_ledger.observe_record(text, timestamptz, text, bigint, jsonb, bigint),
        record_ledger.adopt_observations(text, bigint, text, timestamptz),
        record_ledger.waive_counts(text, timestamptz, text),
        record_ledger.waive_records(text, timestamptz, timestamptz, text),
        record_ledger.reopen_records(text, timestamptz, timestamptz, text),
        record_ledger.expire_leases(text, timestamptz, timestamptz, text),
        record_ledger.cancel_records(text, timestamptz, timestamptz, text),
        record_ledger.reopen_changed_records(text),
        record_ledger.backfill_records(text, timestamptz, text),
        record_ledger.range_step(text, text, timestamptz, timestamptz, text, integer),
        record_ledger.range_in_steps(text, text, timestamptz, timestamptz, text, bigint),
        record_ledger.pause_pipeline(text, text),
        record_ledger.set_pipeline_owner(text, text),
        record_ledger.resume_pipeline(text, text),
        record_ledger.retire_pipeline(text, text),
        record_ledger.archive_records(text, timestamptz, integer)
        to record_ledger_runner;
    end if;
end
$$;
-- record_ledger verify: raises unless every public object is there and described.
-- The last step of every deploy: what callers rely on exists, or nothing of the deploy remains.
-- Applied by: every deploy; anyone may run it again.
-- Rules: the list below is the public surface; sql/README.md describes it.
do $$
declare
    v_object text;
    v_missing text[] := '{}';
begin
    foreach v_object in array array[
        'archived_record_events',
        'archived_record_observations',
        'archived_records',
        'changed_records',
        'daily_coverage',
        'oldest_valid_record',
        'pipeline_events',
        'pipeline_lateness',
        'pipeline_progress',
        'pipeline_records',
        'pipelines',
        'record_events',
        'record_observations',
        'record_verdicts',
        'records_at_risk'
    ] loop
        if to_regclass('record_ledger.' || v_object) is null
            or obj_description(to_regclass('record_ledger.' || v_object), 'pg_class') is null
        then
            v_missing := v_missing || ('view ' || v_object);
        end if;
    end loop;
    foreach v_object in array array[
        'register_pipeline(jsonb)',
        'new_windows(text, timestamptz, integer)',
        'store_new_records(text, jsonb, integer)',
        'pass_valid_record(text, text)',
        'store_new_and_pass_valid_record(jsonb, text, jsonb)',
        'pass_valid_records(jsonb, text, integer, jsonb)',
        'complete_record(text, bigint, jsonb, timestamptz)',
        'complete_and_pass(text, bigint, text, jsonb, timestamptz)',
        'complete_records(text, bigint[], jsonb[], timestamptz[])',
        'fail_record(text, bigint, text, boolean, timestamptz)',
        'release_record(text, bigint, timestamptz, timestamptz)',
        'extend_lease(text, bigint, timestamptz)',
        'claim_state(text, bigint)',
        'observe_record(text, timestamptz, text, bigint, jsonb, bigint)',
        'adopt_observations(text, bigint, text, timestamptz)',
        'waive_counts(text, timestamptz, text)',
        'archive_records(text, timestamptz, integer)',
        'archivable_records(text, timestamptz, integer)',
        'records_as_of(timestamptz)',
        'oldest_pending_record(text)',
        'plan_runs(text, integer, timestamptz, integer, interval)',
        'waive_records(text, timestamptz, timestamptz, text)',
        'reopen_records(text, timestamptz, timestamptz, text)',
        'expire_leases(text, timestamptz, timestamptz, text)',
        'cancel_records(text, timestamptz, timestamptz, text)',
        'backfill_records(text, timestamptz, text)',
        'range_step(text, text, timestamptz, timestamptz, text, integer)',
        'range_in_steps(text, text, timestamptz, timestamptz, text, bigint)',
        'pause_pipeline(text, text)',
        'set_pipeline_owner(text, text)',
        'resume_pipeline(text, text)',
        'retire_pipeline(text, text)',
        'range_effects(text, text, timestamptz, timestamptz)',
        'recount_due(text)',
        'reopen_changed_records(text)',
        'suggest_x_time_back(text, numeric)',
        'is_day_sealed(text, date)',
        'pipeline_time(text, text)',
        'window_time(text, text)',
        'deployed_release()'
    ] loop
        if to_regprocedure('record_ledger.' || v_object) is null
            or obj_description(to_regprocedure('record_ledger.' || v_object), 'pg_proc') is null
        then
            v_missing := v_missing || ('routine ' || v_object);
        end if;
    end loop;
    if cardinality(v_missing) > 0 then
        raise exception 'the ledger is not whole: % missing or without description',
            array_to_string(v_missing, ', ')
            using errcode = 'RL006';
    end if;
end
$$;
select record_ledger.end_deploy('0.5.0');
-- record_ledger strangers: who owns the schema, and what in it or on it belongs to a role that the user cannot trust.
-- One statement, which reads the catalogue only and calls nothing of the schema. Its answer is JSON, and stays in the
-- setting record_ledger.strangers until the transaction ends. Run it with search_path = pg_catalog, pg_temp.
-- Read by: every deploy before it touches the schema, and again as its last step; `record-ledger doctor`.
-- Rules: trusted are superusers, the schema's owner (who is judged apart) and the user. An ordinary user trusts the
-- roles it is a member of as well. A superuser is a member of every role: it trusts superusers, and a ledger that
-- belongs to the database's owner.
-- A membership counts that was granted by a superuser, by the user, or by a role that may act as the user anyway.
-- Who is granted a role is not asked: a stranger who administers one could make everybody a member of it.
select set_config(
    'record_ledger.strangers',
    (
        with recursive me as (
            select
                r.oid,
                r.rolsuper
            from pg_roles as r
            where r.rolname = current_user
        ),

        ledger_schema as (
            select
                n.oid,
                n.nspowner,
                n.nspacl
            from pg_namespace as n
            where n.nspname = 'record_ledger'
        ),

        -- Who has which role by a grant that the user can trust.
        memberships (role_oid, member_oid) as (
            select
                m.roleid,
                m.member
            from pg_auth_members as m
            inner join pg_roles as g on g.oid = m.grantor
            cross join me
            where pg_has_role(g.oid, me.oid, 'member')
                or m.grantor = m.member
                -- Before 16 this is the right to grant the user's own role.
                or g.rolcreaterole and current_setting('server_version_num')::integer < 160000
            union all
            select
                r.oid,
                d.datdba
            from pg_database as d
            inner join pg_roles as r on r.rolname = 'pg_database_owner'
            where d.datname = current_database()
        ),

        member_of (role_oid) as (
            select me.oid
            from me
            union
            select m.role_oid
            from member_of as o
            inner join memberships as m on m.member_oid = o.role_oid
        ),

        -- Roles whose objects the user takes for its own.
        mine as (
            select r.oid
            from pg_roles as r
            cross join me
            where r.oid in (select m.role_oid from member_of as m)
                or me.rolsuper and r.rolsuper
                -- Named by the deployer: trust.sql judges whether the user may act as it.
                or r.rolname = current_setting('record_ledger.owner', true)
        ),

        -- Roles that the whole ledger may belong to.
        may_own as (
            select m.oid
            from mine as m
            union
            select r.oid
            from pg_roles as r
            cross join me
            where me.rolsuper and (
                r.rolname = 'pg_database_owner'
                or r.oid = (
                    select d.datdba
                    from pg_database as d
                    where d.datname = current_database()
                )
            )
        ),

        -- Roles that may have objects in a schema whose owner is trusted: what superusers left there is given to it.
        trusted as (
            select m.oid
            from mine as m
            union
            select r.oid
            from pg_roles as r
            where r.rolsuper
            union
            select s.nspowner
            from ledger_schema as s
        ),

        -- Everything that a role can own in a schema, but for what follows its table: indexes and row types.
        owned (classid, objid, schema_oid, owner_oid) as (
            select
                'pg_class'::regclass,
                c.oid,
                c.relnamespace,
                c.relowner
            from pg_class as c
            where c.relkind not in ('i', 'I', 't', 'c')
            union all
            select
                'pg_proc'::regclass,
                p.oid,
                p.pronamespace,
                p.proowner
            from pg_proc as p
            union all
            select
                'pg_type'::regclass,
                t.oid,
                t.typnamespace,
                t.typowner
            from pg_type as t
            left join pg_class as c on c.oid = t.typrelid
            where (t.typrelid = 0 or c.relkind = 'c')
                and not exists (
                    select
                    from pg_type as e
                    where e.typarray = t.oid
                )
            union all
            select
                'pg_operator'::regclass,
                o.oid,
                o.oprnamespace,
                o.oprowner
            from pg_operator as o
            union all
            select
                'pg_opclass'::regclass,
                o.oid,
                o.opcnamespace,
                o.opcowner
            from pg_opclass as o
            union all
            select
                'pg_opfamily'::regclass,
                o.oid,
                o.opfnamespace,
                o.opfowner
            from pg_opfamily as o
            union all
            select
                'pg_collation'::regclass,
                c.oid,
                c.collnamespace,
                c.collowner
            from pg_collation as c
            union all
            select
                'pg_conversion'::regclass,
                c.oid,
                c.connamespace,
                c.conowner
            from pg_conversion as c
            union all
            select
                'pg_statistic_ext'::regclass,
                s.oid,
                s.stxnamespace,
                s.stxowner
            from pg_statistic_ext as s
            union all
            select
                'pg_ts_config'::regclass,
                t.oid,
                t.cfgnamespace,
                t.cfgowner
            from pg_ts_config as t
            union all
            select
                'pg_ts_dict'::regclass,
                t.oid,
                t.dictnamespace,
                t.dictowner
            from pg_ts_dict as t
            union all
            select
                'pg_extension'::regclass,
                e.oid,
                e.extnamespace,
                e.extowner
            from pg_extension as e
        ),

        -- The schema's objects, and what belongs to them: triggers, rules, policies, defaults, indexes.
        parts (classid, objid) as (
            select
                d.classid,
                d.objid
            from pg_depend as d
            where d.refclassid = 'pg_namespace'::regclass
                and d.refobjid = (select s.oid from ledger_schema as s)
            union
            select
                d.classid,
                d.objid
            from parts as p
            inner join pg_depend as d on d.refclassid = p.classid and d.refobjid = p.objid
            where d.deptype in ('a', 'i', 'P', 'S')
        ),

        problems (problem) as (
            select
                format(
                    '%s belongs to role %s',
                    pg_describe_object(o.classid, o.objid, 0), pg_get_userbyid(o.owner_oid)
                )
            from owned as o
            where o.schema_oid = (select s.oid from ledger_schema as s)
                and o.owner_oid not in (select t.oid from trusted as t)
            union
            -- Views, checks and routines are made anew by every deploy, before anything uses them.
            select
                format(
                    '%s uses %s, which belongs to role %s',
                    pg_describe_object(p.classid, p.objid, 0),
                    pg_describe_object(o.classid, o.objid, 0),
                    pg_get_userbyid(o.owner_oid)
                )
            from parts as p
            inner join pg_depend as d on d.classid = p.classid and d.objid = p.objid
            inner join owned as o on o.classid = d.refclassid and o.objid = d.refobjid
            left join pg_rewrite as w on p.classid = 'pg_rewrite'::regclass and w.oid = p.objid
            left join pg_class as v on v.oid = w.ev_class
            where p.classid in (
                    'pg_trigger'::regclass, 'pg_rewrite'::regclass, 'pg_policy'::regclass,
                    'pg_attrdef'::regclass, 'pg_class'::regclass
                )
                and d.deptype = 'n'
                and v.relkind is distinct from 'v'
                and o.owner_oid not in (select t.oid from trusted as t)
            union
            select
                format(
                    '%s, which belongs to role %s, refers to %s',
                    pg_describe_object('pg_constraint'::regclass, f.oid, 0),
                    pg_get_userbyid(c.relowner),
                    pg_describe_object('pg_class'::regclass, f.confrelid, 0)
                )
            from pg_constraint as f
            inner join pg_class as r on r.oid = f.confrelid
            inner join ledger_schema as s on s.oid = r.relnamespace
            inner join pg_class as c on c.oid = f.conrelid
            where f.contype = 'f' and c.relowner not in (select t.oid from trusted as t)
            union
            -- It could add a function while the deploy is under way, which fits a call better than the ledger's own.
            select
                format(
                    '%s may create objects in the schema '
                    '(revoke create on schema record_ledger from %s)',
                    g.named,
                    g.quoted
                )
            from ledger_schema as s
            cross join lateral aclexplode(s.nspacl) as a
            cross join lateral (
                select
                    case a.grantee
                        when 0 then 'PUBLIC'
                        else 'role ' || pg_get_userbyid(a.grantee)
                    end as named,
                    case a.grantee
                        when 0 then 'public'
                        else quote_ident(pg_get_userbyid(a.grantee))
                    end as quoted
            ) as g
            where a.privilege_type = 'CREATE' and a.grantee not in (select t.oid from trusted as t)
        )

        select
            json_build_object(
                'owner', (select pg_get_userbyid(s.nspowner) from ledger_schema as s),
                'owner_is_trusted', (
                    select s.nspowner in (select m.oid from may_own as m)
                    from ledger_schema as s
                ),
                -- For doctor: a user who only works with the ledger takes it as it is.
                'owner_is_strange', (
                    select
                        s.nspowner not in (select m.oid from may_own as m)
                        and not o.rolsuper
                        and (me.rolsuper or pg_has_role(me.oid, d.datdba, 'member'))
                    from ledger_schema as s
                    inner join pg_roles as o on o.oid = s.nspowner
                    cross join me
                    cross join pg_database as d
                    where d.datname = current_database()
                ),
                'problem_count', (select count(*) from problems),
                'problems', (
                    select string_agg(p.problem, '; ' order by p.problem)
                    from (select q.problem from problems as q
                order by q.problem limit 20) as p
                )
            )::text
    ),
    true
);
-- record_ledger trust: refuses (RL006) to build on what a stranger made, and acts as the ledger's owner from here on.
-- The schema, then the locks that the deploy will need, then what hangs on the tables; half a ledger is refused too.
-- Applied by: every deploy, after strangers.sql, in which the rule stands whom a deploy trusts.
-- Rules: nothing of the schema is called or written before this; all of a ledger belongs to one role.
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
    -- Without a migration no table that passes write is locked: they go on beside a deploy. The deploy's own two are:
    -- a trigger that is being created there would run in it. A pass locks its pipeline first and then records: in
    -- another order it and a migration would wait for each other.
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
            -- Changes nothing. A view that is locked by `lock` has its tables locked too, against readers.
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
    -- A deploy of 0.4.0 or older took `numeric = integer` from any schema of the deployer's path, for ever.
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
commit;
{%- endraw %}
{%- endmacro %}

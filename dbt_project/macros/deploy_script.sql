{# Generated from sql/ by `uv run python -m tests.support.deploy_macro`: change the files there. #}
{% macro deploy_script() -%}
{% raw %}
begin isolation level read committed;
-- record_ledger session: how the transaction of a deploy reads names, and that it is the only one.
-- Read first by every deploy script, before any name is looked up.
-- Applied by: the script that `record-ledger deploy` runs (and `record-ledger deploy --print-sql` prints).
-- Rules: one deploy at a time; a deploy waits for a limited time, and says for whom.

-- Otherwise a function or an operator in a schema of the caller's path could match better than the catalogue's, and run
-- as the deployer. Temporary objects are named last: unnamed, they would come first.
set local search_path = pg_catalog, pg_temp;
-- A statement that has waited for a lock must see what others committed meanwhile.
set transaction isolation level read committed, read write;

do $$
declare
    v_holders text;
    v_key integer := hashtext('record_ledger');
    v_deploy integer := hashtext('deploy');
begin
    -- Every user who can connect can take this lock and keep it. A limit that the caller has set stays.
    if current_setting('lock_timeout') = '0' then
        set local lock_timeout = '30s';
    end if;
    -- Otherwise two deploys at the same time would both find migration 1 missing, and both create its tables.
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
set local record_ledger.migrations = 11;
-- record_ledger roles: creates the two roles, and warns of what the deployer may not do with them.
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
-- It is one statement, which reads only the catalogue and calls nothing of the schema. Its answer is JSON in the
-- setting record_ledger.strangers until the transaction ends. Run it with search_path = pg_catalog, pg_temp.
-- Read by: every deploy before it touches the schema, and again as its last step; `record-ledger doctor`.
-- Rules: trusted are superusers, the schema's owner (who is judged apart) and the user. An ordinary user trusts the
-- roles it is a member of as well. A superuser is a member of every role: it trusts superusers, and a ledger that
-- belongs to the database's owner. A membership counts when a superuser, the user, or a role that may act as the user
-- granted it. A grant by another role does not count: a stranger who administers a role could make every user a member
-- of it.
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

        -- Roles whose objects the user trusts like its own.
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

        -- Roles that may have objects in a schema whose owner is trusted: the deploy gives it what superusers left
        -- there.
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

        -- Everything that a role can own in a schema, except what follows its table: indexes and row types.
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
            -- Every deploy replaces views, checks and routines before anything uses them.
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
            -- Such a role could add a function during the deploy that matches a call better than the ledger's own.
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
                -- For doctor: a user who only works with the ledger accepts its owner.
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
-- record_ledger.begin_deploy, migrate, end_deploy: what a deploy decides, so that psql and Python decide alike.
-- Every deploy script reads it once the schema is trusted; it can be applied repeatedly.
-- Called by: the script that `record-ledger deploy` runs (and `record-ledger deploy --print-sql` prints).
-- Rules: a deploy never goes back to an older release, and refuses an edited migration.

comment on schema record_ledger is
'The record ledger: which time window of which pipeline is next, stable, complete and free. Views and routines are public, tables private.';

create table if not exists record_ledger.migration (
    version integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default clock_timestamp(),
    applied_by text not null default session_user
);

create table if not exists record_ledger.deployment (
    release text primary key,
    deployed_at timestamptz not null default clock_timestamp(),
    deployed_by text not null default session_user
);

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
'Private. The numbers of a release, by which releases are ordered.';

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
    -- A checkout on Windows may have changed the line ends; that is not an edit.
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
'Private. Records the release that was deployed.';
select record_ledger.begin_deploy('0.5.0', 11);
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

-- Incomplete records that were built are separated by the config that they were built with.
update record_ledger.record as r
set lane = 'incomplete' || lpad(r.config_version::text, 10, '0')
        || case when r.is_historical then 'h' else '' end
where r.open_pipeline_id is not null and r.lane in ('incomplete', 'unbuilt');

-- All other records that were never built count by default_record as well.
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
-- Finds a config that returns by its text, for any number of configs of a pipeline.
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
-- With them a pass reads the same few entries for any number of other records, and beside any old snapshot.
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
select record_ledger.migrate(11, '0011_functions', $body$-- record_ledger migration 11: functions that nothing asks any more, or that return other columns now, go.
-- The columns awaits_build and out_of_order of record stay: views of earlier releases, and views that others have built
-- on these, hold the whole row, and PostgreSQL drops no column that a view depends on.
-- Applied by: record_ledger.migrate, once. Never edit it after its release; add a migration.
-- Rules kept here: none.
drop function if exists record_ledger.is_complete(jsonb, text[]);
drop function if exists record_ledger.expected_claims(
    record_ledger.pipeline, timestamptz, timestamptz, integer, interval, timestamptz
);
drop function if exists record_ledger.waiting_for_retry(record_ledger.pipeline, integer);
$body$);
-- record_ledger.attempt_ending: what ended the newest attempt of a record, as BACKOFF and FAILED say it.
-- For a cancelled claim it is the cancellation, not what the run reported. A record whose expired lease no pass has
-- collected yet still has the event of its pass as its newest one: then its lease has expired.
-- The text is shortened, because each answer and each row of why repeats it; the history has it whole.
-- Called by: record_verdict.
-- Uses: shortened.
-- Tests: test_verdicts.py, test_cancelling.py.
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
                'no error was reported'
            )
        when last_event = 'rebuilt' then 'its record has been built again since'
        when last_event = 'counts_waived'
            then coalesce(
                'its counts have been waived since: '
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
'What ended the newest attempt of a record: the run''s error, the operator''s reason, or an expired lease.';
-- record_ledger.check_claim_tokens: raises RL005 unless a list names up to 10,000 claims of a pipeline, each once.
-- The lists of details and of windows may be null; otherwise they have one entry per token.
-- Called by: complete_records.
-- Uses: check_detail.
-- Tests: test_complete_records.py.
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
            coalesce(v_count || ' tokens are too many', 'null is not a list of tokens')
            using errcode = 'RL005',
            hint = 'Give the claim tokens of 10000 records at most, in an array.';
    end if;
    v_problem := case
        when cardinality(details) <> v_count then format('details: it has %s', cardinality(details))
        when cardinality(window_start_times) <> v_count
            then format('window_start_times: it has %s', cardinality(window_start_times))
    end;
    if v_problem is not null then
        raise exception '% entries, but claim_tokens has %', v_problem, v_count
            using errcode = 'RL005',
            hint = 'Give one entry for each claim token, in the same order, or null for the list.';
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
            -- check_detail does not know whose detail it is.
            get stacked diagnostics v_problem = message_text, v_hint = pg_exception_hint;
            raise exception '% (that of claim token %)', v_problem, v_entry.claim_token
                using errcode = 'RL005', hint = v_hint;
    end;
end
$$;
comment on function record_ledger.check_claim_tokens(bigint[], jsonb[], timestamptz[]) is
'Private. Raises RL005 unless a list names up to 10,000 claims, each once, and the other lists have one entry per token.';
-- record_ledger.claim_loss: why a claim token is not, or no longer, the current one of a record.
-- No record was passed with it, its claim is on another window than the one named, or an event ended the claim. Raises
-- RL002 for an unknown pipeline, and RL005 when no token was given.
-- Called by: claim_state, complete_records, raise_claim_lost.
-- Uses: archived_record_events, local_time, raise_unknown_pipeline, record_events.
-- Tests: test_claims.py, test_two_ledgers.py.
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
        raise exception 'claim_token: null is not a valid token; '
            'give the one in the record that was passed'
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
            'claim token %s of pipeline %s belongs to window %s, not to window %s',
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
-- record_ledger.expired_claims: the claims of a pipeline whose leases have run out; at most the ten that ended first.
-- A pass takes back that many, so it stays as fast after an outage, however many have expired. Each pass adds at most
-- one claim. A record whose lease has run out can be passed once a pass has taken it back.
-- Called by: collect_expired_leases, deciding_record, lost_before, next_candidate.
-- Uses: none.
-- Tests: test_passing.py, test_lane_growth.py.
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
'Private. The claims of a pipeline whose leases have run out, at most the ten that ended first.';
-- record_ledger.half_of_time_left: half of the time, in whole seconds, for which a window's source data is still there.
-- No record waits longer, so a wait never loses a record. Null without a source_retention. Types are exact and names
-- qualified (docs/design.md, Names).
-- Called by: postponement, retry_time.
-- Uses: none.
-- Tests: test_retention.py, test_postponing.py.
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
'Half of the seconds for which a window''s source data is still there; null without a source_retention.';
-- record_ledger.is_completed_by: did this claim complete its record, and that of the window when one is named?
-- It is also true when the record was reopened or archived since.
-- Called by: complete_records.
-- Uses: none.
-- Tests: test_complete_records.py.
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
-- record_ledger.is_run_id: can a run of this name be bound to a record?
-- A text of 1 to 1024 bytes that is not blank; null too, and it binds nothing.
-- Called by: complete_and_pass, pass_valid_record, pass_valid_records, register_store_and_pass,
--   store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_passing.py, test_batches.py.
create or replace function record_ledger.is_run_id(run_id text)
returns boolean
language sql
immutable
as $$
    select (run_id ~ '[^[:space:]]' and octet_length(run_id) <= 1024) is not false
$$;
comment on function record_ledger.is_run_id(text) is
'Whether a text can be a run id: 1 to 1024 bytes and not blank, or null.';
-- record_ledger.next_claim_token: the token of a pipeline's next claim, from its newest one and the time.
-- It is the greater of (the newest + 1) and (milliseconds since 2025-01-01 UTC, shifted by 12 bits), plus 12 random
-- bits. So later claims of a pipeline have greater tokens even if the clock goes back, and two copies of a ledger draw
-- different ones. The random bits come from the server's strong source: random() would repeat in sessions with the same
-- seed.
-- A clock of 2094 or later gives 2^53 or more, which pass_record refuses. The caller holds the pipeline's lock.
-- Called by: pass_record, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_claim_tokens.py.
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
-- Called by: pass_record, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_lane_growth.py, test_usual_call.py.
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
-- record_ledger.postponement: until when a released record waits, and for which run; null when it does not wait.
-- A time in the past holds up no run. A time after half of the time that the source data has left is moved forward to
-- that. The time that the run asked for is kept beside it.
-- Called by: end_claim.
-- Uses: half_of_time_left, local_time.
-- Tests: test_postponing.py.
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
-- record_ledger.retry_time: when a record that failed may be passed again.
-- It is retry_delay after the first failed attempt, and doubles after each further one, up to a day (or retry_delay).
-- With a source_retention it is at most half of the time that is left: a backoff never loses a record.
-- Types are exact and names qualified (docs/design.md, Names).
-- Called by: collect_expired_leases, deciding_record, end_claim, expected_claims, expire_range, next_candidate,
--   plan_runs, record_verdict.
-- Uses: half_of_time_left.
-- Tests: test_starting_again.py, test_retention.py.
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
    -- Computed in seconds: a doubled interval goes out of range after about thirty attempts, and the difference of two
    -- instants has a day part.
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
-- record_ledger.config_keys: the keys of a config that the ledger reads.
-- All other keys are ignored and never stored: a team's config holds much else, passwords included.
-- Called by: is_same_config, known_config, warn_of_misspelt_keys.
-- Uses: none.
-- Tests: test_config_rules.py.
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
-- Called by: read_config.
-- Uses: duration, json_problem, ledger_columns, near_names, recount_problems, required_counts_problems,
--   retention_problems, shortened, start_instant, twofold_time.
-- Tests: test_config_rules.py, test_config_properties.py.
create or replace function record_ledger.config_problems(
    config jsonb,
    -- A registered pipeline keeps its name, also where a later release refuses such a name.
    is_registered boolean default false,
    -- An earlier config had the zone. A look-up takes 11 ms, which two deployments in turn would pay in each call.
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
        -- Invisible characters that not every locale counts as spaces.
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
                'config: %s is not a JSON object; give the keys of final_config',
                coalesce(left(config::text, 80), 'null')
            )
        ];
    end if;

    -- Return immediately: the cost of each further check grows with the length and depth of the config.
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
            'timezone: %s is not a time zone that the server knows; %s', left(v_value::text, 80),
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
                '%s: %s is not a valid duration; %s',
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
                '%s: %s is not a whole number from 1 to 999999999', v_key, left(v_value::text, 80)
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
            'backfill_share: %s is not a number; give one from 0 to 1', left(v_value::text, 80)
        );
    elsif v_value::numeric not between 0 and 1 then
        v_problems := v_problems || format(
            'backfill_share: %s is out of range; give a number from 0 to 1', left(v_value::text, 80)
        );
    elsif v_value::numeric > 0 and config -> 'depends_on_past' = 'true' then
        v_problems := v_problems || format(
            'backfill_share: %s cannot be combined with depends_on_past, '
            'which passes records strictly in order; leave one of them out',
            left(v_value::text, 80)
        );
    end if;

    v_problems := v_problems
        || record_ledger.retention_problems(config) || record_ledger.recount_problems(config);

    -- start_at
    v_value := config -> 'start_at';
    if v_value is not null and record_ledger.start_instant(v_value #>> '{}', 'UTC') is null then
        v_problems := v_problems || format(
            'start_at: %s is not a valid time; give ISO 8601 of the years 1900 to 9000, '
            'such as "2026-01-01", "2026-01-01T06:00" '
            'or "2026-01-01T06:00+01:00"',
            left(v_value::text, 80)
        );
    elsif jsonb_typeof(v_value) = 'string'
        -- The server cannot read a local time of a zone that it does not know.
        and not exists (select from unnest(v_problems) as f where starts_with(f, 'timezone: '))
    then
        v_problems := v_problems || array_remove(
            array[
                'start_at: '
                || record_ledger.twofold_time(config ->> 'start_at', config ->> 'timezone')
                || '; give one of the two, with its offset'
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
            'default_record: %s is not a JSON object; give one such as {"pipeline_id": "orders"}',
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
                    'default_record: "" is not a valid field name (its value is %s); '
                    'give the field a name',
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
                'pipeline_id: %s is not a valid pipeline name; '
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
            'check_fields: %s is not a list; give field names such as ["source_name"]',
            left(v_value::text, 80)
        );
    -- Building a record checks each of them.
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
                -- Only for the first ones: a search among a thousand names takes up to a second.
                v_near := case
                    when cardinality(v_problems) < 3
                        then record_ledger.near_names(v_value #>> '{}', v_keys)
                    else '{}'
                end;
                v_problems := v_problems || format(
                    'check_fields: %s is not a field of default_record; %s',
                    left(v_value::text, 80),
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
-- Everything but the config stays: whether it is paused, when it was registered. Writes nothing.
-- Once there are records, start_at stays as it was: it said where the first of them starts. Another start_at raises a
-- notice with the same text in each call, so that a program can show it once.
-- Called by: batch_to_build, register_config, register_pipeline, register_store_and_pass.
-- Uses: known_config, last_window, missing_fields, note_start_at, read_config.
-- Tests: test_registering.py.
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
-- record_ledger.is_same_config: does a config mean what the one in force means?
-- It reads only the keys that are spelt differently: a duration as elapsed time, a number as a number, a missing key as
-- its default. A value that it cannot read is not the same; the validation says why. start_at has no meaning once there
-- are records. So a config in other words costs microseconds in each call, not a validation.
-- Called by: batch_to_build, register_config, register_pipeline, register_store_and_pass.
-- Uses: config_keys, duration, is_same_counts, last_window, recount_ages, start_instant.
-- Tests: test_same_config.py.
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
        -- A duration is a text with units; no other JSON value is a duration.
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
-- A list of stages is short for an object. "5 rows" and "5rows" are the same tolerance, and so are "0.1%" and "0.10%".
-- Called by: is_same_config.
-- Uses: count_tolerance.
-- Tests: test_same_config.py.
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
        -- Equal for one count is equal for all: the kinds are the same, and only percentages grow with the count.
        and (strpos(v_tolerance, '%') = 0) = (strpos(in_force ->> 'tolerance', '%') = 0)
        and record_ledger.count_tolerance(v_tolerance, 1)
            = record_ledger.count_tolerance(in_force ->> 'tolerance', 1);
end
$$;
comment on function record_ledger.is_same_counts(jsonb, jsonb) is
'Private. Whether required_counts mean the ones in force.';
-- record_ledger.known_config: a config without what the ledger ignores.
-- Keys that are null count as not given.
-- Called by: configured.
-- Uses: config_keys.
-- Tests: test_registering.py, test_same_config.py.
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
-- record_ledger.ledger_columns: the names in a record that belong to the ledger.
-- A config's default_record may use none of them but pipeline_id.
-- Called by: config_problems, missing_fields.
-- Uses: none.
-- Tests: test_config_rules.py, test_record_shape.py.
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
-- record_ledger.note_start_at: raises a notice when a config of a pipeline with records gives another start_at.
-- The notice has the same text in each call: a computed start_at differs in each.
-- Called by: configured, register_pipeline, register_store_and_pass.
-- Uses: start_instant.
-- Tests: test_registering.py.
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
-- record_ledger.read_config: a config as the row of the pipeline it describes, with every default filled in.
-- Writes nothing; raises RL001 with all problems in one error.
-- Called by: configured.
-- Uses: config_problems, duration, recount_ages, start_instant, start_problem.
-- Tests: test_config_properties.py.
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
            -- A config may be wrong in thousands of places: the message lists the first twenty.
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
-- record_ledger.recount_ages: a config's recount_ages as elapsed time, each once, ascending; without any the default.
-- Null when one of them is not a duration.
-- Called by: is_same_config, read_config.
-- Uses: duration.
-- Tests: test_retention.py, test_same_config.py.
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
'Private. A config''s recount_ages as elapsed time, each once, ascending; null when one is not a duration.';
-- record_ledger.recount_problems: what is wrong with a config's recount_ages and reopen_budget.
-- One sentence each, naming the key, the value and what would be valid.
-- Called by: config_problems.
-- Uses: duration.
-- Tests: test_recounts.py.
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
            'recount_ages: %s is not a list; give durations such as ["1h", "1d", "7d"]',
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
                    'recount_ages: %s is not a duration from "1s" to "36500d"; give units, '
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
            'reopen_budget: %s is not a whole number from 0 to 999999999', left(v_budget::text, 80)
        );
    end if;
    return v_problems;
end
$$;
comment on function record_ledger.recount_problems(jsonb) is
'Private. What is wrong with a config''s recount_ages and reopen_budget, one sentence each.';
-- record_ledger.required_counts_problems: everything that is wrong with a config's required_counts, one sentence each.
-- A list of stages, or an object of "stages" and "tolerance". Empty when it is valid, or not given.
-- Called by: config_problems.
-- Uses: count_tolerance, is_stage, near_names.
-- Tests: test_required_counts.py.
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
                'required_counts: it has %s keys; give "stages" and optionally "tolerance"',
                v_key_count
            );
        end if;
        for v_key in select k from jsonb_object_keys(required_counts) as k order by k loop
            if v_key <> all (v_keys) then
                v_near := record_ledger.near_names(v_key, v_keys);
                v_problems := v_problems || format(
                    'required_counts: it has no key "%s"; %s', left(v_key, 80),
                    case cardinality(v_near)
                        when 0 then 'give "stages" and optionally "tolerance"'
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
            'required_counts: stages %s is not a list; '
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
                'required_counts: %s is not a valid stage name; give a text of 1 to 255 bytes',
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
            'required_counts: stages %s are fewer than two; give at least two that must agree, '
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
-- config_problems checks that they are durations; this function checks them together, and with other keys.
-- Called by: config_problems.
-- Uses: duration.
-- Tests: test_retention.py.
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
            'before it is stable',
            v_retention, config -> 'x_time_back'
        );
    end if;
    if config ? 'at_risk_within' and not config ? 'source_retention' then
        v_problems := v_problems || format(
            'at_risk_within: %s needs a source_retention; give how long after a window''s end its '
            'source data is kept',
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
            'pass_order: "deadline" needs a source_retention; give how long after a window''s end '
            'its source data is kept'
        )::text;
    end if;
    if v_order = '"deadline"' and config -> 'depends_on_past' = 'true' then
        v_problems := v_problems || (
            'pass_order: "deadline" cannot be combined with depends_on_past, '
            'which passes records strictly in order; leave one of them out'
        )::text;
    end if;
    return v_problems;
end
$$;
comment on function record_ledger.retention_problems(jsonb) is
'Private. What is wrong with a config''s source_retention, at_risk_within and pass_order, one sentence each.';
-- record_ledger.start_instant: reads a config's start_at, an ISO 8601 text, as an instant.
-- A time without an offset is local time, a bare date is its first instant, and a time that clocks skip is the end of
-- the gap. A time that clocks show twice is the first of both; callers that take times from people refuse it
-- (twofold_time). Null when the text is not such a time.
-- Called by: config_problems, is_same_config, note_start_at, pipeline_time, read_config, start_problem.
-- Uses: instant, local_instant, wall_time.
-- Tests: test_config_rules.py.
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
'A config''s start_at as an instant; null when the text is not an ISO 8601 time.';
-- record_ledger.start_problem: what is wrong with the start_at of a valid config; null when nothing is.
-- A pipeline without records would store all windows from there onwards, and nothing removes them. One with records has
-- started already.
-- Called by: read_config.
-- Uses: clock, duration, last_window, start_instant.
-- Tests: test_config_rules.py.
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
            'start_at: %s means %s windows of %s until now; a pipeline may start with at most '
            '10000000, so give a later time or a longer granularity',
            config -> 'start_at', trunc(v_count), config -> 'granularity'
        );
    end if;
    return null;
end
$$;
comment on function record_ledger.start_problem(jsonb, text) is
'Private. What is wrong with the start_at of a valid config; null when nothing is.';
-- record_ledger.warn_of_misspelt_keys: raises a warning for each ignored key that looks like a misspelt one.
-- 'chek_fields' would otherwise be ignored silently, and the pipeline would pass incomplete records. It looks at the
-- first 100 ignored keys.
-- Called by: register_pipeline, register_store_and_pass.
-- Uses: config_keys, near_names.
-- Tests: test_config_rules.py.
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
        -- The search for near names takes a millisecond, and a config may have thousands of other keys.
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
-- record_ledger.adoptable_observations: the counts that a claim may take over from earlier claims of its generation.
-- Of each stage that the claim has not counted itself: the newest observation of a claim current at that time.
-- Called by: adopt_observations, counts_problem.
-- Uses: none.
-- Tests: test_observations.py, test_counts_model.py.
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
-- record_ledger.check_stage: raises RL005 unless a text can name a stage at which records are counted.
-- The error gives the text, and says what a stage's name is.
-- Called by: adopt_observations, observe_record.
-- Uses: is_stage.
-- Tests: test_observations.py.
create or replace function record_ledger.check_stage(stage text)
returns void
language plpgsql
immutable
as $$
begin
    if not record_ledger.is_stage(stage) then
        raise exception 'stage: % is not a valid stage name; give a text of 1 to 255 bytes',
            coalesce('"' || left(stage, 80) || '"', 'null') using errcode = 'RL005';
    end if;
end
$$;
comment on function record_ledger.check_stage(text) is
'Private. Raises RL005 for a text that is not a valid stage name.';
-- record_ledger.count_tolerance: by how many rows a count may be off, as a config's tolerance says.
-- '5 rows' allows 5 for any count; '0.1%' allows that share of the compared count. Null when the text is not a
-- tolerance. Units are required, and 100% is the maximum. Types are exact (docs/design.md, Names).
-- Called by: dbt, changed_records, counts_problem, is_same_counts, required_counts_problems.
-- Uses: none.
-- Tests: test_required_counts.py.
create or replace function record_ledger.count_tolerance(tolerance text, row_count bigint)
returns numeric
language sql
immutable strict
as $$
    select case
        -- Sentences quote it as it is written, blanks included.
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
'How many rows a tolerance such as "5 rows" or "0.1%" allows a count to be off; null when the text is not a tolerance.';
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
-- record_ledger.enough_windows: how many windows lateness needs before it gives a share.
-- Fewer windows say more about chance than about the source.
-- Called by: lateness, suggest_x_time_back.
-- Uses: none.
-- Tests: test_lateness.py.
create or replace function record_ledger.enough_windows()
returns integer
language sql
immutable
as $$
    select 20
$$;
comment on function record_ledger.enough_windows() is
'How many windows lateness needs before it gives a share.';
-- record_ledger.is_stage: can a text name a stage at which records are counted?
-- The usual names are source, stage and target; a team may choose its own.
-- Called by: check_stage, required_counts_problems.
-- Uses: none.
-- Tests: test_observations.py, test_required_counts.py.
create or replace function record_ledger.is_stage(stage text)
returns boolean
language sql
immutable
as $$
    select coalesce(stage ~ '[^[:space:]]' and octet_length(stage) <= 255, false)
$$;
comment on function record_ledger.is_stage(text) is
'Whether a text can name a stage: 1 to 255 bytes that are not all blank.';
-- record_ledger.lateness: how late the rows of a pipeline's windows came, as recounts have measured it.
-- It returns one row per age: 0 (the count that a window was loaded with), and each of recount_ages. It reads the
-- newest windows whose first generation was counted between becoming stable and the first age, and again at the last
-- age. The newest count of a window is taken for all its rows. For each age it uses the first count at or after that
-- age and before the next one.
-- Called by: pipeline_lateness, suggest_x_time_back.
-- Uses: enough_windows, loaded_count.
-- Tests: test_lateness.py.
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
        -- The offsets force one look-up per window, independent of the tables' statistics.
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
'How late the rows of a pipeline''s windows came, one row per recount age; shares are null when computed from fewer than 20 windows.';
-- record_ledger.loaded_count: the count of its source that a completed generation of a record stands on.
-- It is the newest count under the claim that completed the generation, or else the newest one without a claim until
-- then. No row when the source was not counted by then. A count that is recorded before a completion never changes
-- after it.
-- Called by: lateness, observe_record, recount_due.
-- Uses: none.
-- Tests: test_recount_model.py.
create or replace function record_ledger.loaded_count(
    pipeline_id text, window_start_time timestamptz, generation integer
)
returns table (observation_no integer, observed_at timestamptz, row_count bigint)
language sql
stable
as $$
    select o.observation_no, coalesce(a.observed_at, o.observed_at), o.row_count
    from record_ledger.record_event as e
    -- The offset makes the plan read the counts of one record, independent of the tables' statistics.
    cross join lateral (
        select q.*
        from record_ledger.record_observation as q
        where q.pipeline_id = loaded_count.pipeline_id
            and q.window_start_time = loaded_count.window_start_time
        offset 0
    ) as o
    -- The time of the count itself, also when a later claim adopted it.
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
-- record_ledger.observation_time: when an observation of a locked record is made, by the server's clock.
-- It is never before the record's newest change or observation: history must not run backwards when a clock is set
-- back.
-- Called by: adopt_observations, observe_record.
-- Uses: clock.
-- Tests: test_observations.py.
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
'Private. When an observation of a locked record is made: now, but not before its newest change or observation.';
-- record_ledger.open_counts_problem: counts_problem of the claim that holds a record now; null when none holds it.
-- The caller names the window and not the token: otherwise the answers would let a caller guess the current token.
-- Called by: record_verdicts.
-- Uses: counts_problem.
-- Tests: test_required_counts.py.
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
-- record_ledger.check_detail: raises RL005 unless a detail can be kept and read.
-- It allows at most 64 KiB: the history keeps a detail for good, and every reader of the history reads it.
-- Called by: check_claim_tokens, complete_and_pass, complete_record, observe_record.
-- Uses: json_problem.
-- Tests: test_bounds.py, test_poison.py.
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
            hint = 'Store large results elsewhere, and put their location into the detail.';
    end if;
end
$$;
comment on function record_ledger.check_detail(jsonb) is
'Private. Raises RL005 for a detail that is too large or too deep to be kept.';
-- record_ledger.edit_distance: how many letters two words differ by, case ignored.
-- Insertions, deletions, substitutions and swaps of neighbours count 1 each (optimal string alignment).
-- Called by: near_names.
-- Uses: none.
-- Tests: test_config_rules.py.
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
-- record_ledger.is_safe_to_write: may this transaction change the ledger?
-- After waiting for a lock, a routine must see what the others did; stricter isolation levels would show it the past.
-- The triggers that keep the state machine and the history must fire, too: a replica session would skip them.
-- refuse_call says which of both it was.
-- Called by: complete_and_pass, complete_record, complete_records, end_claim, extend_lease, lock_pipeline, lock_record,
--   pass_valid_record, refuse_call, register_pipeline, register_store_and_pass, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_replica_sessions.py, test_two_sessions.py.
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
-- record_ledger.json_problem: why a JSON value is not one that every reader of the ledger can read; null when it is.
-- It allows numbers of 300 digits and 400 decimals (a double has fewer), 100 levels, and max_bytes. Drivers refuse
-- longer or deeper values, and one unreadable row would break the overview of all pipelines. max_bytes keeps one call
-- from storing gigabytes.
-- Called by: built_problem, check_detail, config_problems.
-- Uses: none.
-- Tests: test_bounds.py, test_poison.py.
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
    -- The usual case: so short a text has neither too long a number nor too many brackets.
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
-- record_ledger.near_names: the candidates that a misspelt name may have meant, nearest first, at most three.
-- A name is near when it differs by few letters, or only in case, spaces, hyphens and underscores, or in its last part.
-- Called by: dbt, config_problems, raise_unknown_pipeline, required_counts_problems, warn_of_misspelt_keys.
-- Uses: edit_distance.
-- Tests: test_config_rules.py, test_bounds.py.
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
            -- A longer name is not a misspelt one.
            where octet_length(near_names.name) <= 255
        ) as c
        cross join lateral (
            select
                case
                    when c.plain = c.plain_name then 0
                    when split_part(c.plain, '/', -1) = split_part(c.plain_name, '/', -1) then 1
                    -- The distance is slow to compute: skip names of another length, or with both ends different.
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
-- record_ledger.raise_claim_lost: the one error for a claim token that is not current; it says what ended the claim.
-- Raises RL004; RL002 for an unknown pipeline, RL005 when no token was given.
-- Called by: adopt_observations, end_claim, extend_lease, lock_record.
-- Uses: claim_loss.
-- Tests: test_claims.py.
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
        hint = 'Stop working on this record: only its current claim token counts.';
end
$$;
comment on function record_ledger.raise_claim_lost(text, bigint, timestamptz) is
'Private. Raises RL004 and says what became of the claim.';
-- record_ledger.raise_no_record: the one error for a window that the ledger holds no record of.
-- Raises RL005, for one that was archived as well; RL002 for an unknown pipeline.
-- Called by: lock_record.
-- Uses: local_time, raise_unknown_pipeline.
-- Tests: test_observations.py.
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
-- record_ledger.raise_unknown_pipeline: the one error for a pipeline that is not registered.
-- Raises RL002 with near names, or RL005 when no name was given.
-- Called by: archivable_records, claim_loss, complete_records, is_day_sealed, lock_pipeline, new_windows,
--   oldest_pending_record, pass_valid_record, pipeline_time, plan_runs, raise_no_record, range_effects, recount_due,
--   suggest_x_time_back, window_time.
-- Uses: near_names.
-- Tests: test_poison.py.
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
        raise exception 'pipeline_id: null is not a valid name; give that of a registered pipeline'
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
-- record_ledger.refuse_call: the errors for a call that no routine can serve in any state of the ledger.
-- Raises RL005: for a wrong isolation level, for a session whose triggers do not fire, or else for a run id that cannot
-- be bound.
-- Called by: complete_and_pass, complete_records, end_claim, extend_lease, lock_pipeline, lock_record,
--   pass_valid_record, register_pipeline, register_store_and_pass.
-- Uses: is_safe_to_write.
-- Tests: test_replica_sessions.py, test_passing.py.
create or replace function record_ledger.refuse_call(run_id text default null)
returns void
language plpgsql
as $$
begin
    if current_setting('session_replication_role') = 'replica' then
        raise exception
            'the ledger cannot be changed in a session with session_replication_role = replica'
            using errcode = 'RL005',
            hint = 'The triggers that keep the state machine and the history would not fire: '
                'set session_replication_role to origin.';
    end if;
    if not record_ledger.is_safe_to_write() then
        raise exception 'the ledger cannot be changed in a transaction of isolation level %',
            current_setting('transaction_isolation')
            using errcode = 'RL005',
            hint = 'Make the call in a READ COMMITTED transaction, preferably in one of its own.';
    end if;
    raise exception
        'run_id: "%" is not valid; give a text of 1 to 1024 bytes, or null to bind nothing',
        left(run_id, 80)
        using errcode = 'RL005';
end
$$;
comment on function record_ledger.refuse_call(text) is
'Private. Raises RL005 for a call in a wrong isolation level, without triggers, or with an impossible run id.';
-- record_ledger.refuse_token: the error for a claim token of 2^53 or more, which many callers would read as another.
-- Raises RL005, and says whether the clock or an earlier claim is the cause.
-- Called by: pass_record.
-- Uses: iso_time.
-- Tests: test_claim_tokens.py.
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
        hint = 'Nothing was passed. Tokens stay below 2^53, and this one was drawn while the '
            'clock was set to 2094: restore the ledger from before, or register the pipeline under '
            'another name.';
end
$$;
comment on function record_ledger.refuse_token(text, bigint, timestamptz) is
'Private. Raises RL005 where the next claim token would be 2^53 or more.';
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
-- record_ledger.batch_to_build: what a runner must render before a whole batch can be passed.
-- Of a batch that was drawn before: its outdated records that could be passed again. Otherwise: the due windows, and
-- the outdated ones among the next record_limit records of each kind.
-- It replaces what the first pass of a batch alone would ask for.
-- Called by: pass_valid_records.
-- Uses: clock, configured, is_same_config, next_answer, windows_to_build.
-- Tests: test_batches.py.
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
        -- The first may be current while later records of the batch are not.
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
-- record_ledger.built_problem: what is wrong with the built windows that a caller sent; null when nothing is.
-- Each must be {"window_start_time": ISO 8601 with offset, "window_end_time": the same, "config_version": the number
-- that to_build gave, "fields": {...}}, and one of the config in force has exactly its fields.
-- Called by: register_store_and_pass, store_new_records.
-- Uses: instant, json_problem, shortened.
-- Tests: test_building.py, test_bounds.py.
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
        return format('built: %s is not a JSON array', coalesce(left(built::text, 80), 'null'));
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
-- An entry of another config_version is left out: its fields belong to another config, even if they have the same
-- names. built_problem has checked the array before.
-- Called by: build_records, pass_record, store_windows.
-- Uses: none.
-- Tests: test_building.py.
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
-- record_ledger.is_outdated: was a record built before default_record or check_fields last changed, or never?
-- A pass builds such a record first.
-- Called by: next_answer.
-- Uses: none.
-- Tests: test_outdated.py.
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
-- record_ledger.missing_fields: the check_fields that are empty in a record's fields.
-- A field is empty when it is missing, null or "". The answer is null, not an empty array, when none is empty: the
-- record is complete. The ledger's own columns are never empty. Names are qualified (docs/design.md, Names).
-- Called by: build_record, configured, store_windows.
-- Uses: ledger_columns.
-- Tests: test_building.py.
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
-- record_ledger.record_json: a record as callers get it, flat: its fields and the ledger's columns.
-- Times are ISO 8601 with the offset that the server computes for the pipeline's zone.
-- Called by: oldest_pending_record, pass_record.
-- Uses: record_object.
-- Tests: test_record_shape.py.
create or replace function record_ledger.record_json(r record_ledger.record, timezone text)
returns jsonb
language plpgsql
stable
-- Ends the effect of set_config below with this function: a caller's session keeps its time zone.
set timezone = 'UTC'
as $$
declare
    -- to_jsonb then writes every instant with this zone's offset, many times faster than format functions.
    v_timezone text := pg_catalog.set_config('timezone', record_json.timezone, true);
begin
    return record_ledger.record_object(r);
end
$$;
comment on function record_ledger.record_json(record_ledger.record, text) is
'A record flat as JSON: its fields and the ledger''s columns, times in the pipeline''s zone.';
-- record_ledger.record_object: a record as callers get it, flat: its fields and the ledger's columns.
-- Times are ISO 8601 with the offset of the time zone in force, which the caller has set to the pipeline's. PostgreSQL
-- merges this expression into the statement around it. Names are qualified (docs/design.md, Names).
-- Called by: record_json, store_new_and_pass_valid_record.
-- Uses: time_interval.
-- Tests: test_record_shape.py.
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
-- record_ledger.to_build_reason: the sentence of an answer that asks for windows to be rendered.
-- It tells callers other than the runner what to do.
-- Called by: pass_valid_records, register_store_and_pass.
-- Uses: none.
-- Tests: test_building.py.
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
-- record_ledger.unbuilt_reason: why the next record of a pipeline with templates cannot be passed without its config.
-- The runner renders templates: SQL alone cannot build the record.
-- Called by: pass_record, pass_valid_record.
-- Uses: local_time.
-- Tests: test_rebuilding.py.
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
-- record_ledger.windows_to_build: what a runner must render before the ledger can store and pass.
-- A run that has a record renders that one. Other runs render the due windows (at most 10,000). Where the next record
-- is outdated, they also render it and the outdated ones among the next record_limit of each kind: other runs may be
-- passed the first meanwhile.
-- Each window names, as timezone, the zone that it was or will be cut with: its times have that zone's offsets, and
-- templates see its clock. An entry of built has to name the same config_version.
-- Called by: batch_to_build, register_store_and_pass.
-- Uses: due_windows, incomplete_lanes, is_lost, is_stable, json_time, next_window_start, time_interval,
--   window_timezone.
-- Tests: test_building.py, test_rebuilding.py.
create or replace function record_ledger.windows_to_build(
    p record_ledger.pipeline,
    -- The record that the pass would take next; null when neither it nor a later one can be outdated.
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
            -- The next record first: without it no record can be passed.
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
-- record_ledger.deciding_record: the open record whose verdict a pass exits with when it passes nothing.
-- It is the oldest pending one, else the oldest in progress, else the oldest failed one; null when none is open. A
-- record whose lease has run out counts as the next pass will leave it: pending again, or failed. Lost records are
-- skipped, because the next pass waives them.
-- Called by: next_answer.
-- Uses: expired_claims, retry_time, stuck_heads.
-- Tests: test_verdicts.py.
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
-- record_ledger.due_reason: the sentence for a pipeline without any open record, whose next window is not due yet.
-- The caller has set the time zone in force to that of the window. PostgreSQL takes this expression into the one
-- around it.
-- Names are qualified (docs/design.md, Names).
-- Called by: no_records_reason, store_new_and_pass_valid_record.
-- Uses: iso_time.
-- Tests: test_usual_call.py, test_verdicts.py.
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
-- record_ledger.earliest_open: the oldest open record of a pipeline, which holds up all later ones (depends_on_past).
-- Lost records hold up nothing, because the next pass waives them. A record in progress holds up others while its lease
-- runs.
-- Called by: next_answer.
-- Uses: stuck_heads.
-- Tests: test_order.py.
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
-- record_ledger.first_look: what a pass looks at before anything else; no row where nothing was passed yet.
-- The newest claim with the marks that hold from now on, the record that the run is bound to, and, where the claim's
-- record stood alone and is finished, the one that comes next.
-- A row for each claim; a caller takes the one with the greatest newest_token. Without an order of its own PostgreSQL
-- takes the function into the statement around it, and looks up only what that claim names.
-- Called by: next_answer, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_usual_call.py, test_usual_call_sessions.py.
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
-- Called by: next_answer, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_usual_call.py, test_lane_growth.py.
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
-- Called by: next_answer, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_usual_call_sessions.py.
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
-- record_ledger.incomplete_lanes: the lanes of a pipeline's incomplete records, one for each config that built some.
-- One look-up in the index finds each, however many records it holds; most pipelines have none. lane defines the names.
-- Called by: next_answer, next_candidate, planned_passes, stuck_heads, waive_lost_records, windows_to_build.
-- Uses: none.
-- Tests: test_building.py, test_lane_growth.py.
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
-- record_ledger.is_at_risk: will the source data of a window be gone soon?
-- True at at_risk_within before window_end_time + source_retention, and later; never without a source_retention.
-- Called by: next_turn, pipeline_progress, records_at_risk.
-- Uses: none.
-- Tests: test_retention.py, test_deadline_order.py.
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
-- record_ledger.is_lost: is the source data of a window gone?
-- True at window_end_time + source_retention, and later; never without a source_retention.
-- Called by: cancel_range, expected_claims, expire_range, lost_before, planned_passes, range_effects, range_step,
--   record_verdict, record_verdicts, recount_due, reopen_range, waive_range, windows_to_build.
-- Uses: none.
-- Tests: test_retention.py.
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
-- record_ledger.is_stable: is the data of a window stable?
-- True at window_end_time + x_time_back, and later.
-- Called by: next_answer, next_turn, plan_runs, planned_passes, record_verdict, windows_to_build.
-- Uses: none.
-- Tests: test_passing.py, test_verdicts.py.
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
'Whether a window''s data is stable: window_end_time + x_time_back is not after as_of.';
-- record_ledger.lane: where an open record waits; null for a finished one.
--   active     in progress
--   failed     failed
--   historical pending, backfilled or reopened
--   incomplete pending, built, and check_fields are empty: with the config_version it has, and h if historical
--   retry      pending, and kept from the next run by a retry_at (in backoff, or released until then); retryh if
--              historical. It stays there after that instant, so in every other lane the first record can be passed
--   returned   pending again, after a pass, or after it was incomplete
--   waiting    pending, never passed, stored in order: passed strictly oldest first
-- A new config moves no record to another lane: outdated records count by what default_record fills. Every open record
-- is in exactly one lane, so one index of lanes serves every search of a pass.
-- Called by: backfill_range, check_record_change, store_windows.
-- Uses: none.
-- Tests: test_state_machine.py, test_lane_growth.py.
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
-- Records that start before lost_before are skipped, except those in progress.
-- Called by: archivable_records, next_answer, oldest_pending_record.
-- Uses: stuck_heads.
-- Tests: test_plans.py, test_lane_growth.py.
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
-- record_ledger.lost_before: up to where records are lost; null when none of them waits to be waived.
-- All windows that start before it are past their deadline. Windows end in the order in which they start, so the lost
-- ones are the first of every lane. A record in progress belongs to its run until its lease has run out; then it waits,
-- too.
-- Called by: next_answer.
-- Uses: expired_claims, is_lost, stuck_heads.
-- Tests: test_retention.py.
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
-- record_ledger.next_answer: what a pass would answer to a run at an instant, without passing anything.
-- READY with the record's window, or why there is none; the routines that pass and the views ask here, so they agree.
-- Where the first look finds none outside the lanes 'waiting' and 'active', the first waiting record comes next.
-- Called by: batch_to_build, pass_record, pass_valid_record, pipeline_answer, register_store_and_pass.
-- Uses: deciding_record, earliest_open, first_look, first_open, first_waiting, incomplete_lanes, is_outdated,
--   is_stable, lane_heads, local_time, lost_before, next_candidate, next_window_start, no_records_reason,
--   record_verdict, window_timezone.
-- Tests: test_passing.py, test_verdicts.py, test_order.py.
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
-- The oldest comes first. With a backfill_share, backfilled and reopened records take turns with live ones: next_turn.
-- Where default_record fills all check_fields, outdated records are complete; otherwise only current ones can be.
-- Called by: next_answer.
-- Uses: expired_claims, incomplete_lanes, next_turn, oldest_due, retry_time.
-- Tests: test_order.py, test_deadline_order.py.
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
    -- Records that start before it are skipped; null when none is lost.
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
    v_is_past boolean;
    v_turn record;
    -- Where default_record leaves check_fields empty, only records that a caller has filled are complete.
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
        -- Incomplete by an older config, while the config in force fills the missing fields.
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
        -- Records that the next pass takes back and could pass immediately.
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

    v_is_past := v_past < v_live or v_live is null;
    if p.backfill_share > 0 and v_past is not null and v_live is not null then
        v_turn := record_ledger.next_turn(p, v_live, v_live_end, v_past, v_past_end, credit, as_of);
        v_is_past := v_turn.is_historical;
        historical_credit := v_turn.historical_credit;
    end if;
    if v_is_past then
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
-- record_ledger.next_turn: whether a pass takes the next live record or the next historical one.
-- Without a backfill_share the older one goes first. With one, and only one of both stable, that one goes first. Where
-- both are stable, a credit grows by the share with each pass; at 1 a historical record takes the turn and the credit
-- drops by 1. So of n passes historical records get at least floor(n * share), and live ones at least floor(n * (1 -
-- share)). With pass_order 'deadline' the older of both goes first while it is at risk; such a pass changes no credit.
-- Called by: next_candidate, planned_passes.
-- Uses: is_at_risk, is_stable.
-- Tests: test_order.py, test_deadline_order.py, test_plan_agrees.py.
create or replace function record_ledger.next_turn(
    p record_ledger.pipeline,
    live_start timestamptz,
    live_end timestamptz,
    -- Of the historical one. A null start means that there is none of the kind.
    past_start timestamptz,
    past_end timestamptz,
    credit numeric,
    as_of timestamptz,
    out is_historical boolean,
    -- After this pass.
    out historical_credit numeric,
    -- The backfill_share chose between two that were stable.
    out is_shared boolean
)
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    v_live_is_stable boolean;
    v_past_is_stable boolean;
begin
    historical_credit := credit;
    is_shared := false;
    is_historical := coalesce(past_start < live_start, live_start is null);
    if p.backfill_share > 0 and past_start is not null and live_start is not null then
        v_live_is_stable := record_ledger.is_stable(live_end, p.x_time_back, as_of);
        v_past_is_stable := record_ledger.is_stable(past_end, p.x_time_back, as_of);
        if v_live_is_stable <> v_past_is_stable then
            is_historical := v_past_is_stable;
        elsif v_live_is_stable
            and not (
                p.pass_order = 'deadline'
                and record_ledger.is_at_risk(least(past_end, live_end), p, as_of)
            )
        then
            is_shared := true;
            historical_credit := credit + p.backfill_share;
            is_historical := historical_credit >= 1;
            if is_historical then
                historical_credit := historical_credit - 1;
            end if;
        end if;
    end if;
end
$$;
comment on function record_ledger.next_turn(
    record_ledger.pipeline,
    timestamptz,
    timestamptz,
    timestamptz,
    timestamptz,
    numeric,
    timestamptz
) is
'Private. Whether a pass takes the next live record or the next historical one, and the credit of historical ones after it.';
-- record_ledger.no_records_reason: the sentence for a pipeline without any open record.
-- Says when the next window is due, since that is when the next run has something to store.
-- Called by: next_answer.
-- Uses: due_reason, iso_time, shortened.
-- Tests: test_verdicts.py.
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
-- record_ledger.oldest_due: the oldest record of a lane that waits for no instant any more; null when there is none.
-- In the lanes 'retry' and 'retryh' the index of ends finds the due records; a pass reads at most fifty of them. Where
-- more are due, it takes the oldest due one among the first fifty of the lane and the fifty whose wait ended first. So
-- a pass costs the same after an outage in which a million records failed.
-- Only the lanes 'retry' and 'retryh', and those of incomplete records, have a retry_at.
-- Called by: next_candidate.
-- Uses: none.
-- Tests: test_order.py, test_lane_growth.py.
create or replace function record_ledger.oldest_due(
    pipeline_id text,
    lane text,
    -- Records that start before it are skipped.
    from_time timestamptz,
    as_of timestamptz,
    -- Only records that were built with this config or a later one; null for all.
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
-- record_ledger.passed_reason: the sentence for a record that is passed.
-- PostgreSQL takes this expression into the one around it.
-- Called by: pass_record, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_passing.py, test_batches.py.
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
-- record_ledger.pipeline_answer: next_answer for readers, who have no rights on the tables.
-- It says what a new run would be answered at an instant.
-- Called by: oldest_valid_record, pipeline_progress.
-- Uses: next_answer, record_verdict.
-- Tests: test_verdicts.py, test_roles.py.
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
-- record_ledger.record_verdict: the one verdict on an open record at an instant, and a sentence that says why.
-- The first that applies: LEASE_EXPIRED, LEASED, LOST, FAILED, PAUSED, INCOMPLETE, UNSTABLE, BACKOFF, BLOCKED,
-- AT_CAPACITY, READY. ready_at: when it can be passed as things stand; null when a run or an operator must act first.
-- Called by: next_answer, pipeline_answer, record_verdicts.
-- Uses: attempt_ending, is_lost, is_stable, iso_time, retry_time, shortened, unstable_reason, window_timezone.
-- Tests: test_verdicts.py.
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
    -- The pass builds an outdated record, so it is complete when default_record fills its check_fields.
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
-- record_ledger.stuck_heads: the oldest failed record of a pipeline, and the oldest of each lane of incomplete ones.
-- No row for an empty lane. Records that start before from_time are skipped. It reads no other lane.
-- Called by: deciding_record, earliest_open, lane_heads, lost_before, stuck_window.
-- Uses: incomplete_lanes.
-- Tests: test_verdicts.py, test_lane_growth.py.
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
-- record_ledger.unstable_reason: the sentence for a window whose data has not settled, in the time zone in force.
-- The caller has set it to that of the window. PostgreSQL takes this expression into the one around it.
-- Names are qualified (docs/design.md, Names).
-- Called by: record_verdict, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_verdicts.py.
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
-- record_ledger.expected_claims: how the claims of records in progress are expected to end, seen from an instant.
-- It has the records that others have to wait for, and those whose lease has run out.
-- While its lease runs, a run is expected to complete run_duration after its pass; where that is past, when its lease
-- ends. Where the lease has run out, the next pass takes the record back or marks it failed. A cancelled claim ends as
-- a failed record. collect_expired_leases does with expired leases what is said here.
-- Called by: planned_passes.
-- Uses: is_lost, retry_time.
-- Tests: test_plan_agrees.py, test_plan_reads.py.
create or replace function record_ledger.expected_claims(
    p record_ledger.pipeline,
    first_active timestamptz,
    lease_mark timestamptz,
    -- How many of the leases that have run out to read, those that ended first.
    most_expired integer,
    run_duration interval,
    as_of timestamptz
)
returns table (
    -- Of the window.
    bounds tstzrange,
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
        tstzrange(r.window_start_time, r.window_end_time),
        case
            -- The newest event of a record in progress is its pass: a heartbeat is not an event.
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
        -- Running claims matter only to these two keys.
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
-- It is the median over the newest 100 completed passes, from the pass that drew the claim token to its completion. It
-- reads at most the newest 1,000 passes: a pipeline that failed that often has no duration to plan with.
-- Called by: plan_runs.
-- Uses: none.
-- Tests: test_plan_runs.py.
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
-- record_ledger.pending_in_order: the records that a pipeline can be passed sooner or later, oldest first.
-- Kind 1 are all but the historical ones, kind 2 the historical ones; with kinds 1, kind 1 are all. It reads only as
-- far as the caller fetches: each lane comes in the order of the index, and lanes are merged, never sorted.
-- waiting_for_retry has the records of the lanes 'retry' and 'retryh', which come when their wait is over.
-- Called by: planned_passes.
-- Uses: none.
-- Tests: test_plan_agrees.py, test_plan_reads.py.
create or replace function record_ledger.pending_in_order(
    pipeline_id text,
    kind integer,
    kinds integer,
    waiting_mark timestamptz,
    -- Lanes of outdated incomplete records of this kind that the config in force completes.
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
        -- Each part is ordered already: PostgreSQL then merges them and does not sort.
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
        union all
        (
            -- From the fourth config that left incomplete records: the rare case that sorts.
            select r.window_start_time, r.window_end_time, r.retry_at
            from record_ledger.record as r
            where r.open_pipeline_id = pending_in_order.pipeline_id
                and r.lane = any (pending_in_order.outdated_lanes[4:])
            order by r.window_start_time
        )
    ) as w
    order by w.window_start_time
$$;
comment on function record_ledger.pending_in_order(
    text, integer, integer, timestamptz, text[], integer
) is
'Private. The records that a pipeline can be passed sooner or later, oldest first, read as far as needed.';
-- record_ledger.planned_passes: which window each of the next runs is passed, and when, by the rules of a pass.
-- It assumes that workers ask whenever they are free, that a run completes after run_duration, and that claims end as
-- expected_claims says. An outdated record is built, and complete where default_record fills all check_fields. A last
-- row without run_no ends a plan that cannot continue; blocked_by then says which window holds it up.
-- It follows next_answer and next_candidate, over the records that are still to be passed then.
-- Called by: plan_runs.
-- Uses: expected_claims, incomplete_lanes, is_lost, is_stable, next_turn, next_window, next_window_start,
--   pending_in_order, stuck_window, waiting_for_retry.
-- Tests: test_plan_agrees.py, test_plan_runs.py, test_plan_reads.py.
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
    -- The backfill_share chose between two that were stable.
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
    v_duration constant interval := coalesce(run_duration, interval '0');
    -- default_record fills all check_fields: so outdated records, and windows not stored yet, will be complete.
    v_can_build constant boolean := p.missing_fields is null;
    -- Kind 2 are the historical records of a pipeline with a backfill_share, kind 1 all others.
    v_kinds constant integer := case when p.backfill_share > 0 then 2 else 1 end;
    -- Windows are ranges of time, which compare by their starts. This one comes after all others.
    v_none constant tstzrange := tstzrange('infinity', 'infinity', '[]');
    -- Ordered by their ends: claims in progress, and planned runs. The ..._over say how many have ended by v_now.
    v_claims tstzrange[];
    v_claim_ends timestamptz[];
    v_claims_over integer;
    v_ends timestamptz[] := '{}';
    v_ends_over integer;
    -- Records that wait for an instant, by that instant, and how many waits are over; the ready ones, by their start.
    v_backoff tstzrange[];
    v_backoff_ends timestamptz[];
    v_backoff_over integer := 0;
    v_ready tstzrange[] := '{}';
    v_ready_kind integer[] := '{}';
    -- The oldest open record that no run will ever finish.
    v_stuck tstzrange;
    v_stuck_claims timestamptz[];
    -- Of each kind: the other pending records, oldest first, and the first of them; the next one of all.
    v_lanes text[];
    v_streams refcursor[];
    v_stream refcursor;
    v_head tstzrange[];
    v_next tstzrange[];
    v_stable boolean[];
    -- Where the window after the stored ones and those of the plan starts, and the day of the newest of these.
    v_first_new constant timestamptz := record_ledger.next_window_start(p, as_of);
    v_new_start timestamptz := v_first_new;
    v_new_day date;
    v_newest record;
    v_row record;
    v_bounds tstzrange;
    v_turn record;
    v_kind integer;
    v_place integer;
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
        array_agg(c.bounds order by c.busy_until) filter (where c.busy_until is not null),
        array_agg(c.busy_until order by c.busy_until) filter (where c.busy_until is not null),
        array_agg(c.bounds order by c.retry_at) filter (where c.retry_at is not null),
        array_agg(c.retry_at order by c.retry_at) filter (where c.retry_at is not null),
        array_agg(lower(c.bounds)) filter (where c.is_stuck)
    into v_claims, v_claim_ends, v_backoff, v_backoff_ends, v_stuck_claims
    from (
        select e.bounds, e.busy_until, e.retry_at, e.is_stuck
        from record_ledger.expected_claims(
            p, v_newest.active_mark, v_newest.lease_mark, 10 * runs, run_duration, as_of
        ) as e
        union all
        select w.bounds, null, w.retry_at, null
        from record_ledger.waiting_for_retry(p, runs) as w
    ) as c;
    v_claims := coalesce(v_claims, '{}');
    v_claim_ends := coalesce(v_claim_ends, '{}');
    v_backoff := coalesce(v_backoff, '{}');
    v_backoff_ends := coalesce(v_backoff_ends, '{}');
    for k in 1 .. v_kinds loop
        v_lanes := array(
            select l.lane
            from record_ledger.incomplete_lanes(p.pipeline_id, p.fields_version) as l (lane)
            where v_can_build and (v_kinds = 1 or (l.lane like '%h') = (k = 2))
        );
        v_stream := null;
        open v_stream for
            select w.window_start_time, w.window_end_time, w.retry_at
            from record_ledger.pending_in_order(
                p.pipeline_id,
                k,
                v_kinds,
                v_newest.waiting_mark,
                v_lanes,
                case when not v_can_build then p.fields_version end
            ) as w;
        v_streams[k] := v_stream;
    end loop;

    <<plan>>
    for v_run in 1 .. runs + 1 loop
        -- A worker that was already free keeps waiting for what the one before it waited for.
        if v_ends[v_run - workers] >= v_now then
            v_now := v_ends[v_run - workers];
            v_waited_for := null;
        end if;
        loop
            -- ------------------------------------------------ what is over by now
            v_claims_over := width_bucket(v_now, v_claim_ends);
            v_ends_over := width_bucket(v_now, v_ends);
            while v_backoff_ends[v_backoff_over + 1] <= v_now loop
                v_backoff_over := v_backoff_over + 1;
                v_place := width_bucket(v_backoff[v_backoff_over], v_ready);
                v_kind := (
                    select case when r.is_historical then v_kinds else 1 end
                    from record_ledger.record as r
                    where r.pipeline_id = p.pipeline_id
                        and r.window_start_time = lower(v_backoff[v_backoff_over])
                );
                v_ready := v_ready[:v_place] || v_backoff[v_backoff_over] || v_ready[v_place + 1:];
                v_ready_kind := v_ready_kind[:v_place] || v_kind || v_ready_kind[v_place + 1:];
            end loop;

            -- ------------------------------------------------ what no run will ever finish, until it is lost
            while v_stuck is null
                or record_ledger.is_lost(upper(v_stuck), p.source_retention, v_now)
            loop
                v_row := record_ledger.stuck_window(p, upper(v_stuck), v_stuck_claims);
                v_stuck := case
                    when v_row.window_start_time is null then v_none
                    else tstzrange(v_row.window_start_time, v_row.window_end_time)
                end;
            end loop;

            -- ------------------------------------------------ the next record of each kind
            for k in 1 .. v_kinds loop
                v_stream := v_streams[k];
                while v_head[k] is null
                    or record_ledger.is_lost(upper(v_head[k]), p.source_retention, v_now)
                loop
                    fetch v_stream into v_row;
                    v_bounds := case
                        when v_row.window_start_time is not null
                            then tstzrange(v_row.window_start_time, v_row.window_end_time)
                    end;
                    if record_ledger.is_lost(upper(v_bounds), p.source_retention, v_now) then
                        continue;
                    elsif v_row.retry_at > v_now then
                        v_row.retry_at := least(
                            v_row.retry_at, v_row.window_end_time + p.source_retention
                        );
                        v_place := width_bucket(v_row.retry_at, v_backoff_ends);
                        v_backoff := v_backoff[:v_place] || v_bounds || v_backoff[v_place + 1:];
                        v_backoff_ends := v_backoff_ends[:v_place] || v_row.retry_at
                            || v_backoff_ends[v_place + 1:];
                    elsif v_bounds is not null then
                        v_head[k] := v_bounds;
                    elsif k = 1 and v_can_build then
                        -- Not stored yet: a stable window is also due, so the run that is passed it stores it.
                        v_row := record_ledger.next_window(v_new_start, p.granularity, p.timezone);
                        v_head[k] := tstzrange(v_new_start, v_row.window_end_time);
                        v_new_day := v_row.target_day;
                        v_new_start := v_row.window_end_time;
                    else
                        v_head[k] := v_none;
                    end if;
                end loop;
                v_next[k] := v_head[k];
                loop
                    v_place := array_position(v_ready_kind, k);
                    exit when v_ready[v_place] < v_head[k] is not true;
                    if not record_ledger.is_lost(
                            upper(v_ready[v_place]), p.source_retention, v_now
                        )
                    then
                        v_next[k] := v_ready[v_place];
                        exit;
                    end if;
                    v_ready := v_ready[:v_place - 1] || v_ready[v_place + 1:];
                    v_ready_kind := v_ready_kind[:v_place - 1] || v_ready_kind[v_place + 1:];
                end loop;
                v_stable[k] := record_ledger.is_stable(upper(v_next[k]), p.x_time_back, v_now);
            end loop;
            if run_no is not null then
                -- Only now is it known whether the run before leaves anything behind.
                drains_backlog := not v_is_drained and not exists (
                    select
                    from unnest(v_next || v_backoff[v_backoff_over + 1:]) as w (bounds)
                    where record_ledger.is_stable(upper(w.bounds), p.x_time_back, v_ends[run_no])
                );
                v_is_drained := v_is_drained or drains_backlog;
                return next;
                run_no := null;
            end if;
            exit plan when v_run > runs;

            -- ------------------------------------------------ which of them, and can it be passed
            v_turn := record_ledger.next_turn(
                p, lower(v_next[1]), upper(v_next[1]), lower(v_next[2]), upper(v_next[2]),
                v_credit, v_now
            );
            v_kind := 1 + v_turn.is_historical::integer;
            v_obstacle := case
                when not v_stable[v_kind] then 'time'
                when v_run - 1 - v_ends_over + cardinality(v_claims) - v_claims_over
                    >= p.max_active_records then 'capacity'
                when p.depends_on_past and (
                    v_ends_over < v_run - 1
                    or v_next[v_kind] > any (v_claims[v_claims_over + 1:])
                    or v_next[v_kind] > any (v_backoff[v_backoff_over + 1:])
                    or v_next[v_kind] > v_stuck
                ) then 'past'
            end;
            exit when v_obstacle is null;
            v_waited_for := v_obstacle;
            v_now := least(
                v_backoff_ends[v_backoff_over + 1],
                v_claim_ends[v_claims_over + 1],
                v_ends[v_ends_over + 1],
                case when v_obstacle = 'past' then upper(v_stuck) + p.source_retention end,
                case when not v_stable[1] then upper(v_next[1]) + p.x_time_back end,
                case when not v_stable[2] then upper(v_next[2]) + p.x_time_back end
            );
            if v_now is null or v_now = 'infinity' then
                -- Nothing changes any more.
                return query
                select null::integer, null::timestamptz, null::timestamptz, null::date,
                    null::timestamptz, null, null::boolean,
                    case when v_obstacle = 'past' then nullif(lower(v_stuck), 'infinity') end,
                    null::boolean;
                exit plan;
            end if;
        end loop;

        -- ---------------------------------------------------- passed
        run_no := v_run;
        window_start_time := lower(v_next[v_kind]);
        window_end_time := upper(v_next[v_kind]);
        target_day := case when window_start_time >= v_first_new then v_new_day end;
        starts_at := v_now;
        waited_for := v_waited_for;
        is_shared := v_turn.is_shared;
        v_credit := v_turn.historical_credit;
        v_ends := v_ends || (v_now + v_duration);
        if v_next[v_kind] = v_head[v_kind] then
            v_head[v_kind] := null;
        else
            v_place := array_position(v_ready, v_next[v_kind]);
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
-- record_ledger.stuck_window: the oldest open record that no run will ever finish, from a window's start onwards.
-- It is failed, or incomplete and not outdated, or outdated where default_record leaves check_fields empty, or a claim
-- that will end so. Null when there is none.
-- Called by: planned_passes.
-- Uses: stuck_heads.
-- Tests: test_plan_agrees.py.
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
'Private. The oldest open record, from an instant onwards, that no run will ever finish.';
-- record_ledger.waiting_for_retry: the records of a pipeline that wait, or waited, for an instant before a next run.
-- It has those that matter to the next runs: the oldest ones and those whose wait ends first, as oldest_due takes them.
-- oldest_due reads fifty of each.
-- Called by: planned_passes.
-- Uses: none.
-- Tests: test_plan_agrees.py, test_plan_reads.py.
create or replace function record_ledger.waiting_for_retry(
    p record_ledger.pipeline,
    runs integer
)
returns table (bounds tstzrange, retry_at timestamptz)
language sql
stable
as $$
    select
        tstzrange(w.window_start_time, w.window_end_time),
        least(w.retry_at, w.window_end_time + (p).source_retention)
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
-- record_ledger.backfill_start: where a backfill of about max_records windows begins that ends at first_start.
-- It begins at the start of a local day; in a day of more than max_records windows, at the start of one of them. It is
-- not before the local day of from_time. Reads no ledger rows.
-- A day's windows start one granularity apart from its start onwards, as windows_from says.
-- Called by: backfill_range.
-- Uses: day_start, local_day.
-- Tests: test_backfill.py, test_range_steps.py.
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
-- They begin at the first instant of from_time's local day; the last one ends where the first stored one starts.
-- backfill_range says the same in parts.
-- Called by: range_effects.
-- Uses: day_start, local_day, windows_from.
-- Tests: test_range_effects.py.
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
-- record_ledger.check_backfill: raises RL005 unless a pipeline's history can be extended back to an instant.
-- Returns where its first stored window starts.
-- Called by: backfill_records, range_effects, range_step.
-- Uses: archive_end, iso_time, local_time, time_interval.
-- Tests: test_backfill.py.
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
        raise exception 'from_time: null is not a valid time'
            using errcode = 'RL005', hint = 'Give the time from which the pipeline needs records.';
    end if;
    if from_time = 'infinity'
        or greatest(from_time, timestamptz '1900-01-01 00:00:00+00') at time zone p.timezone
            < timestamp '1970-01-01 00:00:00'
    then
        raise exception 'from_time: % is out of range', record_ledger.iso_time(from_time)
            using errcode = 'RL005',
            hint = 'Give 1970-01-01 or a later time, by the pipeline''s local time.';
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
        raise exception 'pipeline % has no record yet, so there is none to add records before',
            p.pipeline_id
            using errcode = 'RL005',
            hint = 'Put start_at into its config: its first window then starts there.';
    end if;
    -- A backfill is one transaction, which must not run without end.
    v_count := extract(epoch from v_first_start - from_time) / extract(epoch from p.granularity);
    if v_count > 10000000 then
        raise exception 'from_time: % would add % windows of % before the first one; '
            'at most 10000000 can be added in one call',
            record_ledger.local_time(from_time, p.timezone),
            trunc(v_count),
            record_ledger.time_interval(from_time, from_time + p.granularity)
            using errcode = 'RL005', hint = 'Give a later time.';
    end if;
    -- All older records are archived, and the first record starts where the archive ends.
    if from_time < v_first_start and record_ledger.archive_end(p.pipeline_id) is not null then
        raise exception 'from_time: pipeline % is archived until %, so nothing can be added before',
            p.pipeline_id, record_ledger.local_time(v_first_start, p.timezone)
            using errcode = 'RL005',
            hint = 'The view archived_records has the records from before.';
    end if;
    return v_first_start;
end
$$;
comment on function record_ledger.check_backfill(record_ledger.pipeline, timestamptz) is
'Private. Raises RL005 unless records can be added back to an instant; returns where the first stored window starts.';
-- record_ledger.check_range: raises RL005 for a range that is empty, or whose ends are not given.
-- -infinity and infinity are valid bounds: a caller who means everything has to say so.
-- Called by: cancel_records, expire_leases, range_effects, range_step, reopen_records, waive_records.
-- Uses: iso_time.
-- Tests: test_ranges.py.
create or replace function record_ledger.check_range(from_time timestamptz, to_time timestamptz)
returns void
language plpgsql
stable
as $$
begin
    if from_time is null or to_time is null then
        raise exception '%: null is not a valid time',
            case when from_time is null then 'from_time' else 'to_time' end
            using errcode = 'RL005',
            hint = 'Give both ends of the range; -infinity and infinity are valid ends.';
    end if;
    if from_time >= to_time then
        raise exception 'the range is empty: to_time (%) must be later than from_time (%)',
            record_ledger.iso_time(to_time), record_ledger.iso_time(from_time)
            using errcode = 'RL005',
            hint = 'The end is the first instant after the range: for one day, give the next day.';
    end if;
end
$$;
comment on function record_ledger.check_range(timestamptz, timestamptz) is
'Private. Raises RL005 for a range that is inverted, empty or null.';
-- record_ledger.check_reason: raises RL005 unless an operator says why.
-- The history keeps the reason for the operators who will look for it.
-- Called by: backfill_records, cancel_records, expire_leases, pause_pipeline, range_step, reopen_records,
--   resume_pipeline, retire_pipeline, waive_counts, waive_records.
-- Uses: none.
-- Tests: test_bounds.py, test_ranges.py.
create or replace function record_ledger.check_reason(
    reason text, is_optional boolean default false
)
returns void
language plpgsql
immutable
as $$
begin
    if not is_optional and coalesce(reason !~ '[^[:space:]]', true) then
        raise exception 'reason: must not be blank'
            using errcode = 'RL005',
            hint = 'Say why in a few words: the history keeps them, with the role and the time.';
    end if;
    if octet_length(reason) > 8192 then
        raise exception 'reason: it is % bytes long; give 8192 at most', octet_length(reason)
            using errcode = 'RL005',
            hint = 'Say why in a few words: each sentence about the change quotes them.';
    end if;
end
$$;
comment on function record_ledger.check_reason(text, boolean) is
'Private. Raises RL005 for a reason that is null or blank, unless it is optional, or of more than 8 KiB.';
-- record_ledger.is_in_range: does a whole window lie in [from_time, to_time)?
-- A window that lies only partly in the range is not the operator's.
-- Called by: cancel_range, expire_range, range_effects, range_step, reopen_range, waive_range.
-- Uses: none.
-- Tests: test_ranges.py.
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
        -- Redundant, but it ends the scan of the primary key where the range ends.
        and window_start_time < to_time
$$;
comment on function record_ledger.is_in_range(
    timestamptz, timestamptz, timestamptz, timestamptz
) is
'Private. Whether a whole window lies in a range; the range excludes its end.';
-- record_ledger.status_after: what an operation on a range makes of a record; null when it leaves the record alone.
--   waive   a pending or failed record needs no run any more
--   reopen  a finished or failed record is pending once more, unless its source data is gone
--   expire  a claim that is known to be dead ends as if its lease had run out: pending, or failed without attempts left
--           or when it was cancelled
--   cancel  a claim continues until its run stops or its lease ends, and the record fails then
-- check_record_change guards each change.
-- Called by: cancel_range, expire_range, range_effects, range_step, reopen_range, waive_range.
-- Uses: none.
-- Tests: test_range_effects.py, test_ranges.py.
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
-- record_ledger.check_owner: raises 42501 when a pipeline belongs to a role that the session's user is not a member of.
-- A pipeline without an owner is open to every runner.
-- Called by: check_owner_of, complete_records, lock_pipeline, pass_valid_record, register_config, register_pipeline,
--   register_store_and_pass.
-- Uses: may_act.
-- Tests: test_pipeline_owners.py.
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
-- It leaves an unknown pipeline to the caller, which has a better sentence about it.
-- Called by: check_counts, end_claim, extend_lease, lock_record.
-- Uses: check_owner.
-- Tests: test_pipeline_owners.py.
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
-- record_ledger.is_ledger_owner: is a role the owner of the ledger, or a member of it?
-- Superusers are members of every role. The ledger's owner may do anything in it.
-- Called by: may_act, sees_tokens.
-- Uses: none.
-- Tests: test_pipeline_owners.py.
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
-- record_ledger.may_act: may the session's user act in a pipeline that belongs to a role?
-- Members of that role and owners of the ledger may; when the role does not exist any more, only the latter. It is
-- asked only for pipelines that have an owner. It judges the session_user, because routines run with the rights of the
-- ledger's owner.
-- Called by: check_owner, set_pipeline_owner.
-- Uses: is_ledger_owner.
-- Tests: test_pipeline_owners.py.
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
-- record_ledger.sees_tokens: may the caller see the claim tokens of records in progress?
-- Runners may, because a token lets its holder end the claim; analysts, who only read, need none. All may see the
-- tokens of claims that have ended: they end nothing any more.
-- It judges the current_user, which is the ledger's owner inside of its routines.
-- Called by: dbt, pipeline_records, record_events, record_observations.
-- Uses: is_ledger_owner.
-- Tests: test_roles.py.
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
-- record_ledger.clock: the ledger's only source of time.
-- It is the server's clock at the moment of the call, not the transaction's start: leases must not begin in the past. A
-- routine asks it once per statement or per lock taken. Only a test database replaces it.
-- Called by: the Python runner, dbt, archive_records, backfill_records, batch_to_build, cancel_records,
--   complete_and_pass, complete_record, complete_records, end_claim, expire_leases, extend_lease, new_windows,
--   observation_time, oldest_valid_record, pass_valid_record, pass_valid_records, pause_pipeline, pipeline_progress,
--   plan_runs, range_effects, range_step, record_verdicts, records_at_risk, recount_due, register_config,
--   register_store_and_pass, reopen_changed_records, reopen_records, resume_pipeline, retire_pipeline,
--   set_pipeline_owner, start_problem, store_new_and_pass_valid_record, store_new_records, waive_counts, waive_records.
-- Uses: none.
-- Tests: test_two_sessions.py.
create or replace function record_ledger.clock()
returns timestamptz
language sql
volatile
as $$
    select pg_catalog.clock_timestamp()
$$;
comment on function record_ledger.clock() is
'The instant at which the ledger judges: the server''s clock.';
-- record_ledger.day_start: the first instant of a local date, the ledger's local midnight.
-- It is also right where 00:00 does not exist (Cairo, Beirut, Santiago, Havana), happens twice (Azores), or where a
-- whole date is skipped.
-- Called by: dbt, backfill_range, backfill_start, backfill_windows, day_coverage, first_window_start, local_day,
--   next_window, range_step, window_time, windows_from.
-- Uses: local_instant.
-- Tests: test_days.py.
create or replace function record_ledger.day_start(local_date date, timezone text)
returns timestamptz
language sql
immutable
as $$
    select record_ledger.local_instant(local_date::timestamp, day_start.timezone)
$$;
comment on function record_ledger.day_start(date, text) is
'The first instant of a local date in a time zone; consecutive ones tile time exactly.';
-- record_ledger.duration: reads a config's duration ('1d', '1d2h30m20s', 'PT26H') as elapsed time.
-- Null when the text is not a duration, as bare numbers, months, years and infinity are not. 1d is 24 h on every day.
-- Units may have any case except M and MS, which others read as months: minutes are m, milliseconds ms. Units are
-- required. A sign is read; the caller judges it.
-- Called by: the Python runner, dbt, config_problems, is_same_config, read_config, recount_ages, recount_problems,
--   retention_problems, start_problem.
-- Uses: none.
-- Tests: test_config_rules.py.
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
    -- Sentences quote it as it is written, blanks included.
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
'A duration with units as elapsed time (1d = 24 h); null when the text is not a duration.';
-- record_ledger.instant: reads an ISO 8601 time with an offset; null when the text is not one.
-- Years are 1900 to 9000: windows are built on these times, and drivers read no time of a year after 9999. It reads no
-- other form: PostgreSQL would read 'tomorrow' and 'infinity' too, and '01/02/03' as the session's DateStyle says.
-- Called by: built_problem, start_instant.
-- Uses: none.
-- Tests: test_poison.py, test_building.py.
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
'An ISO 8601 time with an offset as an instant; null when the text is not one.';
-- record_ledger.iso_time: an instant in ISO 8601 with the offset of the time zone in force.
-- It serves functions that have set a pipeline's time zone, and errors about a time of the caller; all others use
-- local_time. Names are qualified (docs/design.md, Names).
-- Called by: dbt, check_backfill, check_range, due_reason, no_records_reason, record_verdict, refuse_token,
--   release_record.
-- Uses: none.
-- Tests: test_record_shape.py.
create or replace function record_ledger.iso_time(instant timestamptz)
returns text
language sql
stable
as $$
    select pg_catalog.btrim(pg_catalog.to_json(instant)::text, '"')
$$;
comment on function record_ledger.iso_time(timestamptz) is
'An instant in ISO 8601 with the offset of the session''s time zone.';
-- record_ledger.json_time: an instant as JSON holds it, ISO 8601 with the offset of a zone.
-- A null zone means that of the session, for functions that have set a pipeline's: this is many times faster.
-- Called by: windows_to_build.
-- Uses: local_time.
-- Tests: test_record_shape.py, test_building.py.
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
-- record_ledger.local_day: the local day an instant belongs to.
-- It is the last day that has started. That is not always the date on the wall: clocks set back across midnight show
-- yesterday again.
-- Called by: dbt, backfill_range, backfill_start, backfill_windows, days_with_windows, first_window_start, range_step,
--   reopen_changed_records, windows_from.
-- Uses: day_start.
-- Tests: test_days.py.
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
-- For a local time that happens twice it is the first of both; for one that clocks skip, the end of the gap. Types are
-- exact (docs/design.md, Names).
-- Called by: day_start, local_instants, start_instant, window_time.
-- Uses: none.
-- Tests: test_days.py.
create or replace function record_ledger.local_instant(local_time timestamp, timezone text)
returns timestamptz
language plpgsql
immutable strict
as $$
declare
    v_instant timestamptz := local_time at time zone local_instant.timezone;
    v_before timestamptz := v_instant - interval '12 hours';
    -- The same local time, computed with the offset that was in force half a day earlier.
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
    -- Clocks skip the local time, and v_first is at or after the end of the gap; usually exactly at its end.
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
-- Usually one; none where clocks skip the time; two, the earlier one first, where they show it twice.
-- Called by: twofold_time, window_time.
-- Uses: local_instant.
-- Tests: test_zones.py.
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
-- record_ledger.time_interval: a window's actual length as text: '2h', '1h30m', '25h'.
-- Hours are the largest unit, because a local day has 23, 24 or 25 of them. Types are exact and names qualified
-- (docs/design.md, Names).
-- Called by: archived_records, check_backfill, new_windows, oldest_valid_record, pipeline_records, plan_runs,
--   record_object, suggest_x_time_back, windows_to_build.
-- Uses: none.
-- Tests: test_windows.py.
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
-- record_ledger.twofold_time: a sentence about a text whose local time comes twice in a zone; null for any other text.
-- Clocks that are set back show an hour again: a text in that hour does not name one instant. A bare date does: it is
-- its first one.
-- Called by: config_problems, pipeline_time.
-- Uses: local_instants, local_time, wall_time.
-- Tests: test_zones.py.
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
-- record_ledger.wall_time: the local time that an ISO 8601 text without an offset states.
-- A bare date is its midnight, even where clocks skip it. Null when the text has an offset, is not such a time, or is
-- not of the years 1900 to 9000.
-- Called by: start_instant, twofold_time, window_time.
-- Uses: none.
-- Tests: test_zones.py.
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
'The local time that an ISO 8601 text without an offset states; null when it is not one.';
-- record_ledger.archive_end: where the archive of a pipeline ends; null when nothing is archived.
-- The first record that is not archived starts exactly there, so no window can ever be added before it.
-- Called by: archivable_records, check_backfill.
-- Uses: none.
-- Tests: test_archive.py, test_backfill.py.
create or replace function record_ledger.archive_end(pipeline_id text)
returns timestamptz
language sql
stable
-- One look-up in the index of each year, however many rows it has.
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
-- record_ledger.day_coverage: how the windows of a pipeline cover a local day, the archive included.
-- The day is [its midnight, the next midnight) of the zone in force; windows that cover it may begin and end anywhere.
-- A window is published once a generation of it was completed, also while a later one is being loaded. It is done when
-- it is COMPLETED or WAIVED. Counts of windows are of those that begin in the day; counts of rows are those of
-- published generations.
-- Windows never overlap, so they cover the day when their lengths within it add up to its own.
-- Called by: daily_coverage, is_day_sealed.
-- Uses: archived_records, day_start, pipeline_records.
-- Tests: test_sealed_days.py.
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

    -- The newest count of each stage under that claim, in the ledger or in the archive.
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
        -- After a change of the zone, or of the server's data for it, a window may lie across the midnight.
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
-- record_ledger.days_with_windows: the local days of a pipeline, from its first window's to the last of its newest one.
-- It has every date between them, whether the ledger or the archive has its windows.
-- Called by: daily_coverage.
-- Uses: last_window, local_day.
-- Tests: test_sealed_days.py.
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
    -- A window that was cut with another zone may end in the day after that of its start.
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
-- record_ledger.due_windows: all windows from an instant onwards that are due, oldest first.
-- A window is due when it began before as_of - x_time_back; a retired pipeline has none. Reads no ledger rows.
-- Called by: new_windows, open_windows, store_windows, windows_to_build.
-- Uses: windows_from.
-- Tests: test_windows.py, test_windows_stored.py.
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
'Private. The windows from an instant onwards that began before as_of - x_time_back, oldest first.';
-- record_ledger.first_window_start: where the first window of a pipeline without records starts.
-- It starts at start_at, or else at the first instant of the local day of (as_of - x_time_back).
-- Called by: next_window_start, pipeline_progress, register_store_and_pass, store_windows.
-- Uses: day_start, local_day.
-- Tests: test_windows_stored.py.
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
-- record_ledger.is_within_day: does a window that starts at an instant end after its granularity, unhurried by clocks?
-- True where it ends by local midnight, the clocks do not change in it, and were not set back across midnight just
-- before. PostgreSQL takes this expression into the one around it.
-- Called by: next_window, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_windows.py, test_days.py.
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
-- record_ledger.last_window: the newest stored window of a pipeline; no row when none is stored.
-- The next one starts at its end: no gap, no overlap. It returns a set, so that PostgreSQL plans it with the statement
-- that reads it.
-- Called by: archivable_records, configured, days_with_windows, is_same_config, next_window_start,
--   register_store_and_pass, start_problem, store_new_and_pass_valid_record, store_windows, window_time.
-- Uses: none.
-- Tests: test_windows_stored.py.
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
-- record_ledger.next_window: the one window that starts at a given instant.
-- Ends at the earlier of start + granularity (elapsed) and the next local midnight; from 1d on it is the local day.
-- windows_from says the same in bulk.
-- Called by: pipeline_progress, planned_passes, store_windows.
-- Uses: day_start, is_within_day.
-- Tests: test_windows.py.
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
-- It is the end of the newest stored window; without one, the start of the first window.
-- Called by: new_windows, next_answer, open_windows, planned_passes, windows_to_build.
-- Uses: first_window_start, last_window.
-- Tests: test_windows_stored.py.
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
-- record_ledger.open_windows: the windows of a pipeline that are not done, stored or not.
-- It has the open records, and the windows that are due and not stored yet (at most 10,000), whose status is null.
-- Called by: pipeline_progress, records_at_risk.
-- Uses: due_windows, next_window_start.
-- Tests: test_retention.py.
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
-- record_ledger.stretch_timezone: the time zone of the stretch of windows that an instant of a pipeline lies in.
-- Before the first stretch it is the zone of the first one; without a stored window, the zone in force.
-- pipeline_records and archived_records have this look-up as a subquery, which costs a row a fraction of a call.
-- Called by: the Python runner, archivable_records, check_counts, window_timezone.
-- Uses: none.
-- Tests: test_zones.py.
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
-- record_ledger.window_timezone: the time zone that a stored window of a pipeline was cut with.
-- Usually it is the zone in force, which the pipeline's row has. PostgreSQL merges this expression into the one around
-- it. A window that is not stored yet is cut with p.timezone. Types are exact and names qualified (docs/design.md,
-- Names).
-- Called by: changed_records, next_answer, oldest_pending_record, oldest_valid_record, pass_record, plan_runs,
--   record_verdict, record_verdicts, records_at_risk, waive_counts, windows_to_build.
-- Uses: stretch_timezone.
-- Tests: test_zones.py.
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
-- record_ledger.windows_from: the windows that tile time from an instant onwards.
-- It returns those that begin before to_time, the first max_windows of them (null: all), in any order. Reads no ledger
-- rows. next_window says the same of one window.
-- Called by: backfill_range, backfill_windows, due_windows.
-- Uses: day_start, local_day.
-- Tests: test_windows.py.
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
            -- Longer than any day: a window of a day is all of it.
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

    -- Counted per day: so the query computes no window beyond max_windows, and sorts none.
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
'Private. The windows that tile time from an instant onwards and begin before another.';
-- record_ledger.append_pipeline_event: records a change of a pipeline as a whole, with its role and time.
-- Events are numbered per pipeline, so the caller holds the lock of its row.
-- Called by: archive_records, backfill_range, pause_pipeline, register_config, reopen_changed_records, resume_pipeline,
--   retire_pipeline, set_pipeline_owner, waive_lost_records.
-- Uses: none.
-- Tests: test_registering.py, test_pausing.py.
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
'Private. Records a change of a pipeline as a whole, with its role and time.';
-- record_ledger.backfill_range: adds records before the first one of a locked pipeline; returns how many.
-- It goes back to the local day of from_time. With max_records it adds only the newest of them, at most max_records and
-- at most 10,000: whole days, or a part of one that has more. first_start then says where the first record starts. All
-- are historical. Those of a pipeline with templates are stored unbuilt. check_backfill has checked what the caller
-- gives.
-- Called by: backfill_records, range_step.
-- Uses: append_pipeline_event, backfill_start, begin_stretch, day_start, lane, local_day, local_time, void_marks,
--   windows_from.
-- Tests: test_backfill.py, test_range_steps.py.
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
    -- Enough to make the overhead of a statement negligible, and few enough to keep the rows in memory for the checks
    -- of the links, which run at its end.
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
    -- The newest first: so the history has no gap after any of the parts.
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
        -- The count forces the order: a pipeline has one first record at any moment, so the old one is linked before
        -- the new one is inserted.
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
'Private. Adds records before the first one of a locked pipeline, the newest first; returns how many, and where the first one then starts.';
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
-- record_ledger.build_record: gives an outdated record the fields of the config in force; returns what it then lacks.
-- The record stays in its lane, so a record that waits in order keeps its place. An event is appended only when a field
-- differs, with the old state of these fields: fields_before has their values, fields_added the names of new ones.
-- check_record_change guards the change.
-- Called by: build_records, pass_record.
-- Uses: missing_fields, note_filled.
-- Tests: test_rebuilding.py, test_outdated.py.
create or replace function record_ledger.build_record(
    p record_ledger.pipeline,
    window_start_time timestamptz,
    fields jsonb,
    as_of timestamptz,
    out missing_fields text[],
    -- False when only the config_version changed.
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
-- A current record stays as it is: each change of the fields builds it once, even when a field is missing then. A
-- record that is in progress, failed or finished is left alone.
-- Called by: pass_valid_records, store_new_records.
-- Uses: build_record, built_windows.
-- Tests: test_rebuilding.py.
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
-- It changes records whose whole window lies in the range and that status_after lets change; it leaves others alone.
-- check_record_change guards the change.
-- Called by: change_range.
-- Uses: is_in_range, is_lost, local_time, status_after.
-- Tests: test_cancelling.py.
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
    -- record as the first one left it.
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
-- record_ledger.change_range: waives, reopens, expires or cancels records of a locked pipeline; returns how many.
-- It changes records whose whole window lies in [from_time, to_time), in one statement, and leaves others alone.
-- Called by: cancel_records, expire_leases, range_step, reopen_records, waive_records.
-- Uses: cancel_range, expire_range, reopen_range, waive_range.
-- Tests: test_ranges.py.
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
-- record_ledger.collect_expired_leases: takes back records of a locked pipeline whose lease has run out, at most ten.
-- A record is pending again with a backoff from the expiry onwards, or failed when no attempt is left or its claim was
-- cancelled, as check_record_change says. Each pass does this; there is no daemon.
-- Called by: pass_record.
-- Uses: expired_claims, local_time, retry_time.
-- Tests: test_passing.py, test_starting_again.py.
create or replace function record_ledger.collect_expired_leases(
    p record_ledger.pipeline, lease_mark timestamptz, as_of timestamptz
)
returns void
language plpgsql
as $$
declare
    v_start timestamptz;
begin
    -- One by one: with a join or a list, a session that has planned it on an empty ledger could read all records.
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
            -- Its run may have ended the claim or extended the lease meanwhile.
            and r.lane = 'active' and r.lease_expires_at <= as_of;
    end loop;
end
$$;
comment on function record_ledger.collect_expired_leases(
    record_ledger.pipeline, timestamptz, timestamptz
) is
'Private. Takes back records of a locked pipeline whose lease has run out, at most ten.';
-- record_ledger.complete_locked_records: completes records whose claims the caller has locked and found current.
-- When the counts of one of them do not agree, it raises RL007 and completes none. check_record_change guards each
-- change, and checks the counts.
-- Called by: complete_records.
-- Uses: none.
-- Tests: test_complete_records.py.
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
    -- One table and no join: the primary key finds the rows in every plan.
    update record_ledger.record as r
    set lease_expires_at = null,
        cancellation = null,
        last_event = 'completed',
        last_detail = details[width_bucket(r.claim_token, claim_tokens)],
        updated_at = as_of
    where r.pipeline_id = complete_locked_records.pipeline_id
        and r.window_start_time = any(window_start_times)
        -- A plan that does not use the list as an index condition reads no further than this.
        and r.window_start_time >= window_start_times[1]
        and r.window_start_time <= window_start_times[cardinality(window_start_times)];
end
$$;
comment on function record_ledger.complete_locked_records(
    text, timestamptz[], bigint[], jsonb[], timestamptz
) is
'Private. Completes records whose claims the caller holds locked and has found current; RL007 where counts do not agree.';
-- record_ledger.confirm_repeated: makes the answer to a repeated call wait for the standbys that confirm commits.
-- The first call may have been committed on this server alone: its session may have ended while it waited for a
-- standby. A call that only reads waits for no standby, and would acknowledge what a failover takes back.
-- Called by: complete_records, end_claim.
-- Uses: none.
-- Tests: test_claims.py, test_complete_records.py.
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
'Private. Makes the answer to a repeated call wait for the standbys that confirm commits.';
-- record_ledger.create_archive_partitions: creates the archive's partitions for the windows between two instants.
-- Each archive table has one partition per year (UTC); existing ones stay. It blocks no reader and no other writer.
-- Called by: archive_records.
-- Uses: refuse_change.
-- Tests: test_archive.py, test_archive_sessions.py.
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
            -- and no insert waits for it. It is taken before the second check.
            execute format('lock table record_ledger.%I in share update exclusive mode', v_table);
            continue when to_regclass(format('record_ledger.%I', v_partition)) is not null;
            execute format(
                'create table record_ledger.%I (like record_ledger.%I including all)',
                v_partition, v_table
            );
            -- The owner's default privileges may grant rights on the tables that it creates.
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
            -- Partitions inherit only the row triggers of their table.
            execute format(
                'create trigger refuse_truncate before truncate on record_ledger.%I '
                'for each statement execute function record_ledger.refuse_change()', v_partition
            );
            execute format(
                'comment on table record_ledger.%I is %L', v_partition,
                format('Private. The part of %s for the windows of one year.', v_table)
            );
            -- Created apart and attached: a partition created in its place would lock out every reader of the table. It
            -- is empty, so attaching it checks no rows. Its bounds are formatted here: a DateStyle writes zones as
            -- abbreviations, and PostgreSQL before 18 reads IST as another zone's.
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
-- named, it raises RL004. check_record_change guards the change, and fails what was cancelled.
-- Called by: complete_and_pass, complete_record, fail_record, release_record.
-- Uses: check_owner_of, clock, confirm_repeated, is_safe_to_write, postponement, raise_claim_lost, refuse_call,
--   retry_time.
-- Tests: test_claims.py, test_two_endings.py.
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
-- record_ledger.expire_range: takes back records of a locked pipeline from the runs that hold them; returns how many.
-- It changes records whose whole window lies in the range and that status_after lets change; it leaves others alone.
-- check_record_change guards the change.
-- Called by: change_range.
-- Uses: is_in_range, is_lost, local_time, retry_time, status_after.
-- Tests: test_ranges.py.
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
    -- A run that is not dead may be ending its claim right now: the second of both waits for the first one's commit,
    -- and then sees the record as the first one left it.
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
-- record_ledger.lock_pipeline: locks a pipeline's row for this transaction and returns it as it then is.
-- It is a statement of its own: the caller's next statement sees all that was committed before the lock was granted.
-- Called by: archive_records, backfill_records, cancel_records, complete_and_pass, expire_leases, extend_lease,
--   pass_valid_record, pass_valid_records, pause_pipeline, range_step, reopen_changed_records, reopen_records,
--   resume_pipeline, retire_pipeline, set_pipeline_owner, store_new_records, waive_counts, waive_records.
-- Uses: check_owner, is_safe_to_write, raise_unknown_pipeline, refuse_call.
-- Tests: test_two_sessions.py, test_two_operators.py.
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
    -- Otherwise two runs could find the same oldest record, or store the same window.
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
'Private. Locks a pipeline''s row and returns it; RL002 when there is none, 42501 when it belongs to a role that the user is not a member of.';
-- record_ledger.lock_record: locks a record for this transaction and returns it as it then is.
-- A claim token, when given, must be the current one of this very record (RL004 otherwise).
-- Called by: adopt_observations, observe_record, waive_counts.
-- Uses: check_owner_of, is_safe_to_write, raise_claim_lost, raise_no_record, refuse_call.
-- Tests: test_two_counters.py.
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
    -- Another session may be completing, collecting, reopening or archiving the record: the second of both waits for
    -- the first one's commit. So no count is recorded under a token that was lost meanwhile, and a completion misses
    -- none.
    select q.* into r
    from record_ledger.record as q
    where q.pipeline_id = lock_record.pipeline_id
        and q.window_start_time = lock_record.window_start_time
    for no key update;
    if not found then
        -- Already archived: raise ClaimLost with the event that ended the caller's claim. A ledger that was restored
        -- from a backup may not have the window of a claim that it passed before.
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
-- record_ledger.note_filled: records that a caller filled a record where default_record leaves check_fields empty.
-- No other record of such a pipeline can be passed, so a pass starts its search at the first one that was filled.
-- register_config removes the mark when the fields change.
-- Called by: build_record, store_windows.
-- Uses: none.
-- Tests: test_outdated.py.
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
'Private. Records that a caller filled a record where default_record leaves check_fields empty.';
-- record_ledger.pass_record: hands the oldest valid record of a locked pipeline to a run, or says why there is none.
-- Collects expired leases and waives lost records first. A passed record has the fields of the config in force, a new
-- claim token and lease; a run keeps its record for good.
-- next_answer decides, next_claim_token draws; this writes it down.
-- Called by: complete_and_pass, pass_valid_record, pass_valid_records, register_store_and_pass.
-- Uses: build_record, built_windows, collect_expired_leases, next_answer, next_claim_token, next_lease_mark,
--   passed_reason, record_json, refuse_token, unbuilt_reason, waive_lost_records, window_timezone.
-- Tests: test_passing.py, test_order.py.
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
-- record_ledger.register_config: makes a config the one in force, and leaves its pipeline's row locked.
-- It writes nothing when the config in force has the same meaning; it validates only a new one. It changes no record:
-- the pipeline's fields_version says which are outdated, and the pass of each builds it.
-- Called by: pass_valid_records, register_pipeline, register_store_and_pass.
-- Uses: append_pipeline_event, check_owner, clock, configured, is_same_config.
-- Tests: test_registering.py, test_same_config.py.
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
            -- Another call registered the pipeline meanwhile: compare with its row, as with any other.
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

    -- The event names a config that returns and does not repeat it: two deployments in turn would write it in each
    -- call.
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

    -- Records in progress may have been passed when no counts were required. A run that is completing one now goes
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
-- record_ledger.register_store_and_pass: the whole cycle for a call of any kind; what a usual call is spared is here.
-- Registers the config, stores the due windows, collects expired leases and passes the oldest valid record to the run.
-- It runs with the settings of store_new_and_pass_valid_record.
-- Called by: store_new_and_pass_valid_record.
-- Uses: built_problem, check_owner, clock, configured, first_window_start, is_run_id, is_safe_to_write, is_same_config,
--   last_window, next_answer, note_start_at, pass_record, refuse_call, register_config, store_windows, to_build_reason,
--   warn_of_misspelt_keys, windows_to_build.
-- Tests: test_passing.py, test_usual_call.py.
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
-- record_ledger.reopen_range: makes the records of a range of a locked pipeline pending once more; returns how many.
-- It changes records whose whole window lies in the range and that status_after lets reopen; it leaves others alone.
-- check_record_change guards the change.
-- Called by: change_range, reopen_changed_records.
-- Uses: is_in_range, is_lost, status_after, void_marks.
-- Tests: test_ranges.py, test_starting_again.py.
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
-- record_ledger.store_windows: inserts the due windows of a locked pipeline; returns how many.
-- built null: fields come from a config without templates; with templates, windows are stored unbuilt.
-- built given: each window takes its fields from there, up to the first window that it lacks. An entry of another
-- window or another config_version is ignored: it was rendered for something else.
-- Called by: pass_valid_records, register_store_and_pass, store_new_records.
-- Uses: begin_stretch, built_windows, due_windows, first_window_start, lane, last_window, missing_fields, next_window,
--   note_filled.
-- Tests: test_windows_stored.py.
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
    v_window record;
    -- The windows to store, oldest first, and their fields where built is given.
    v_days date[];
    v_starts timestamptz[];
    v_ends timestamptz[];
    v_built jsonb[];
begin
    stored_count := 0;
    select l.window_start_time, l.window_end_time into v_previous_start, v_start
    from record_ledger.last_window(p.pipeline_id) as l;
    if v_start is null then
        v_start := record_ledger.first_window_start(p, as_of);
    end if;
    -- Nothing was rendered, so nothing is stored: compute no window.
    if v_start >= v_horizon or p.is_retired or built = '[]' then
        return;
    end if;
    v_window := record_ledger.next_window(v_start, p.granularity, p.timezone);
    if built is null and v_window.window_end_time >= v_horizon then
        -- The usual case, without the set-based computation: the pipeline runs on time, and one window is due.
        v_days := array[v_window.target_day];
        v_starts := array[v_start];
        v_ends := array[v_window.window_end_time];
    else
        select
            array_agg(w.target_day order by w.window_start_time),
            array_agg(w.window_start_time order by w.window_start_time),
            array_agg(w.window_end_time order by w.window_start_time),
            array_agg(w.fields order by w.window_start_time)
        into v_days, v_starts, v_ends, v_built
        from (
            select
                d.target_day,
                d.window_start_time,
                d.window_end_time,
                b.fields,
                built is null
                or bool_and(b.fields is not null) over (order by d.window_start_time) as is_known
            -- One call stores at most 64 MiB of fields; the next call continues.
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
        where w.is_known;
        if v_starts is null then
            return;
        end if;
    end if;
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
        coalesce(w.fields, v_fields),
        v_config_version,
        m.missing_fields,
        record_ledger.lane('PENDING', m.missing_fields, v_config_version, true, false, null),
        p.pipeline_id,
        as_of,
        as_of
    from unnest(
        v_days, v_starts, v_ends, v_previous_start || v_starts[:cardinality(v_starts) - 1], v_built
    ) as w (target_day, window_start_time, window_end_time, previous_window_start_time, fields)
    cross join lateral (
        select case
                when built is null then v_missing
                else record_ledger.missing_fields(w.fields, p.check_fields)
            end as missing_fields
    ) as m;
    stored_count := cardinality(v_starts);
    if p.missing_fields is not null and built is not null then
        perform record_ledger.note_filled(
            p,
            (
                select min(w.window_start_time)
                from unnest(v_starts, v_built) as w (window_start_time, fields)
                where record_ledger.missing_fields(w.fields, p.check_fields) is null
            )
        );
    end if;
    if p.zone_since is null then
        perform record_ledger.begin_stretch(p, v_start);
    end if;
end
$$;
comment on function record_ledger.store_windows(record_ledger.pipeline, jsonb, timestamptz) is
'Private. Inserts the due windows of a locked pipeline, at most 10,000; returns how many.';
-- record_ledger.void_marks: declares invalid what the claims of a pipeline say about its lanes and leases.
-- A record has entered a lane other than by the end of a claim, or a lease ends earlier than it did. The next pass
-- reads from the beginning and marks again. A pass that has read before it had the lock sees that the row has changed.
-- first_look says when the marks of a claim are valid.
-- Called by: backfill_range, check_record_change, reopen_range.
-- Uses: none.
-- Tests: test_backfill.py, test_starting_again.py.
create or replace function record_ledger.void_marks(pipeline_id text)
returns void
language plpgsql
as $$
#variable_conflict use_column
begin
    -- A statement of its own: the next one sees the claim of the pass that held the lock.
    perform
    from record_ledger.pipeline as p
    where p.pipeline_id = void_marks.pipeline_id
    for no key update;
    -- Even when the token is the same: a pass that has read already sees by the row that something has changed.
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
'Private. Declares invalid what the claims of a pipeline say about its lanes and leases.';
-- record_ledger.waive_lost_records: waives records of a locked pipeline whose source data is gone, at most 1,000.
-- No run could process them: they become WAIVED with the reason 'lost', and the pipeline's history says how many.
-- Further ones wait for the next pass, and passes skip them until then. Records in progress stay with their runs.
-- Called by: pass_record.
-- Uses: append_pipeline_event, incomplete_lanes, local_time.
-- Tests: test_retention.py.
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
'Private. Waives records of a locked pipeline whose source data is gone, at most 1,000, with the reason ''lost''.';
-- record_ledger.waive_range: marks pending and failed records of a locked pipeline WAIVED; returns how many.
-- It changes records whose whole window lies in the range and that status_after lets change; it leaves others alone.
-- check_record_change guards the change.
-- Called by: change_range.
-- Uses: is_in_range, is_lost, status_after.
-- Tests: test_ranges.py.
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
-- record_ledger.check_bounds: a window ends after it starts.
-- It is a trigger and not a check constraint: PostgreSQL reads a constraint's text again in every statement, updates
-- included. This trigger fires only for the insert of a window that breaks the rule. check_record_change keeps the
-- stored bounds.
-- Called by: its own trigger.
-- Uses: none.
-- Tests: test_windows_stored.py.
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
-- record_ledger.check_counts: true when the counts of a record in progress let it be completed; raises RL007 otherwise.
-- They do when they agree, when an operator waived them for this generation, or when the config requires none. It
-- raises 42501 when the pipeline belongs to a role that the session's user is not a member of.
-- It is asked only for records whose pipeline required counts, or had an owner, when they were passed, or since.
-- Called by: check_record_change.
-- Uses: check_owner_of, counts_problem, local_time, stretch_timezone.
-- Tests: test_required_counts.py.
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
    -- A volatile call in a statement of its own: it sees all counts until the record was locked.
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
'Private. True when the counts of a record let it be completed; raises RL007 otherwise.';
-- record_ledger.check_events_archived: events are deleted only when the archive has the same rows.
-- It judges by what the tables hold: no setting lets a role delete. Refuses with RL003.
-- It fires once per statement: a check of each row takes three times as long.
-- Called by: its own trigger.
-- Uses: none.
-- Tests: test_archive_refusals.py.
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
-- record_ledger.check_kept_columns: the columns of a record that a pass and a completion must not change.
-- It fires only for updates that name one of these columns. Nearly all updates are passes and completions that name
-- none, and pay nothing. check_record_change checks these columns for all other changes.
-- Its name makes it fire before check_record_change, which writes some of them.
-- Called by: its own trigger.
-- Uses: none.
-- Tests: test_state_machine.py.
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
-- It judges by what the tables hold: no setting lets a role delete. Refuses with RL003. It fires once per statement.
-- Called by: its own trigger.
-- Uses: none.
-- Tests: test_archive_refusals.py.
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
-- It judges by what the tables hold: no setting lets a role delete. Refuses with RL003.
-- It fires before each row, so that its error comes before the foreign key's.
-- Called by: its own trigger.
-- Uses: none.
-- Tests: test_archive_refusals.py.
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
-- The one list of legal changes is here, but for what check_kept_columns keeps.
-- Called by: its own trigger.
-- Uses: check_counts, lane, void_marks.
-- Tests: test_state_machine.py.
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
-- record_ledger.refuse_change: history is only ever appended, and pipelines are never deleted.
-- Each role that tries gets RL003, the owner of the tables included. Its triggers are on all ledger tables: for
-- truncates, and for updates and deletes where rows are append-only. check_record_archived, check_events_archived and
-- check_observations_archived judge the deletes of rows that go to the archive.
-- Called by: its own triggers, create_archive_partitions.
-- Uses: none.
-- Tests: test_state_machine.py, test_archive_refusals.py.
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
-- record_ledger.adopt_observations: takes over what earlier claims of the same generation counted, as this claim's own.
-- A later claim of the same generation takes over the counts of earlier ones: of each stage, or of the given one, that
-- this claim has not counted itself. The caller answers for them. A later claim adopts the count of a source that it
-- did not read again, and never that of a target that it loads again.
-- Needs the current claim token, and the claim's window when the caller names one (RL004 otherwise). Returns how many
-- it adopted; a repeated call adds nothing.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: adoptable_observations, check_stage, lock_record, observation_time, raise_claim_lost.
-- Tests: test_observations.py, test_counts_model.py.
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
'Takes over what earlier claims of the same generation counted, as evidence of the current claim (RL004 otherwise); returns how many.';
-- record_ledger.archivable_records: which records archive_records would move, and why it would stop there; reads only.
-- The oldest records in an unbroken row: up to the first open record, none that ends after before, and never the newest
-- one.
-- Called by: record_ledger_reader, the Python runner, archive_records.
-- Uses: archive_end, lane_heads, last_window, local_time, raise_unknown_pipeline, stretch_timezone.
-- Tests: test_archive.py, test_archive_refusals.py.
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
-- Each look-up below reads an index, even where the tables' statistics suggest otherwise.
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
        raise exception 'before: % is not a valid instant; '
            'give the time up to which records are archived',
            coalesce(before::text, 'null')
            using errcode = 'RL005';
    end if;
    if max_records < 1 then
        raise exception 'max_records: % is less than 1; give how many records may be moved',
            max_records
            using errcode = 'RL005';
    end if;

    record_count := 0;
    -- Where the archive ends: the dead rows of archived records, which an old snapshot keeps, are not read again.
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
    -- Newest first: only the window that contains before, if there is one, is read in vain.
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
    -- A record without a reason of its own stays because of max_records.
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
-- record_ledger.archive_records: moves a pipeline's oldest finished records, with their events and counts, to the
-- archive.
-- It takes the records whose window ends at or before an instant, oldest first, up to the first open record. The newest
-- record stays, and so does every claim: a run keeps its record, and a token keeps its window. Returns how many it
-- moved; call it until it returns 0.
-- check_record_archived guards the deletes.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: append_pipeline_event, archivable_records, clock, create_archive_partitions, local_time, lock_pipeline.
-- Tests: test_archive.py, test_archive_refusals.py, test_archive_sessions.py, test_archive_plans.py.
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
    -- Against another archiver, and against operators who add windows before the first one or reopen these records.
    p record_ledger.pipeline := record_ledger.lock_pipeline(pipeline_id);
    v_now timestamptz := record_ledger.clock();
    v_part record;
begin
    if max_records is null then
        raise exception 'max_records: null is not a number; give how many records may be moved'
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

    -- The triggers compare the deleted rows with those in the archive: they refuse a row that another session changed
    -- or added meanwhile, and all of the call is undone.
    delete from record_ledger.record_event as e
    where e.pipeline_id = p.pipeline_id
        and e.window_start_time >= v_part.first_window_start_time
        and e.window_start_time <= v_part.last_window_start_time;
    -- A run may be ending its claim on the first record that stays: wait for it here, not within the next statement.
    perform
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id and r.window_start_time = v_part.archived_until
    for no key update;
    -- In one statement: a record cannot lose its predecessor earlier, and the chain has exactly one beginning.
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
    -- A run that was counting one of them has committed by now, and the next one finds no record: no count stays
    -- behind.
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
-- record_ledger.backfill_records: adds records before a pipeline's first one, back to the local day of from_time.
-- One call adds them all and returns how many; 0 when the first record starts at from_time or earlier. They are
-- historical. Those of a pipeline with templates are stored unbuilt, and the pass of each builds it.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: backfill_range, check_backfill, check_reason, clock, lock_pipeline.
-- Tests: test_backfill.py.
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
-- record_ledger.cancel_records: asks the runs that hold the records of a range to stop; their claims are cancelled.
-- It changes records whose whole window lies in [from_time, to_time), leaves others alone, and returns how many it
-- changed. A run learns of the cancellation from claim_state. It keeps its claim until it has stopped, so no second run
-- begins beside it. The record is then FAILED, unless the run completes it. No run is passed the record before an
-- operator reopens it.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: change_range, check_range, check_reason, clock, lock_pipeline.
-- Tests: test_cancelling.py.
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
-- record_ledger.claim_state: whether a claim is current, cancelled or lost, and why; reads only.
--   current    the record is this claim's; reason is null
--   cancelled  it still is, but an operator asks the run to stop: fail it without a retry; reason is the operator's
--   lost       it is not; reason says what ended the claim, or that no record was passed with this token
-- A run that works for long asks at least every 30 seconds: a heartbeat does not report a cancellation.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: claim_loss.
-- Tests: test_cancelling.py, test_two_ledgers.py.
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
-- record_ledger.complete_and_pass: completes a passed record and passes the next one, in one statement and one commit.
-- It ends the claim as complete_record does, and passes a record to run_id as pass_valid_record does. run_id must be a
-- new run, because a run keeps its record for good. It stores no windows and renders nothing: the caller's next full
-- call does.
-- A call may be repeated with the same run_id: it confirms the completion, and the run gets the record that it is bound
-- to. Without the current token (RL004), or when the counts do not agree (RL007), it does nothing.
-- exit_dag true: the record is completed, and no other one was passed; the verdict says why.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: check_detail, clock, end_claim, is_run_id, is_safe_to_write, lock_pipeline, pass_record, refuse_call.
-- Tests: test_complete_and_pass.py.
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
    -- Lock the pipeline first and then the record, as every pass does. Otherwise two sessions could wait for each
    -- other: one with the record that it has completed, the other with the pipeline in which it collects that record.
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
-- record_ledger.complete_record: marks a passed record COMPLETED.
-- Needs the current claim token, and the claim's window when the caller names one (RL004 otherwise). A repeated call
-- with the token that completed the record changes nothing.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: check_detail, clock, end_claim, is_safe_to_write.
-- Tests: test_claims.py, test_required_counts.py.
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
        -- The usual case of end_claim, without what the other endings need. A token that is not current is left to it.
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
-- It returns one row per token, in the order given; no token affects another:
--   completed  the record is completed, now or earlier by this very token; reason is null
--   lost       the token is not current, or its window is not the one named; reason says what ended the claim
--   refused    its counts do not agree, and the record stays claimed; reason is the sentence of RL007
-- details and window_start_times, when given, have one entry per token. A null entry is an empty detail, or a window
-- that is not named. A list that is not valid raises RL005, and nothing is changed.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: check_claim_tokens, check_owner, claim_loss, clock, complete_locked_records, confirm_repeated, is_completed_by,
--   is_safe_to_write, raise_unknown_pipeline, refuse_call.
-- Tests: test_complete_records.py.
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
    -- Sorted, so that width_bucket finds a token by bisection; details and windows have the same places.
    v_tokens bigint[];
    v_details jsonb[];
    v_windows timestamptz[];
    -- Of the records that this call may complete.
    v_held bigint[];
    v_starts timestamptz[];
    v_counted bigint[];
    v_counted_starts timestamptz[];
    -- Of the tokens that are lost or refused. The answers by token are objects, in which a look-up is fast.
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

    -- Two calls may name the same records in different orders, and would wait for each other: so all are locked first,
    -- in the order of their windows. A pass may be collecting a lease right now, or a run counting: the second session
    -- waits for the first one's commit, and sees the record as that one left it.
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
            -- A plan that does not use the list as an index condition reads no further than this.
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
            -- None of them is completed, because at least one is refused: so complete each by itself.
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
-- record_ledger.deployed_release: the release of the ledger that is deployed here.
-- It is the newest release that was ever deployed: a deploy never goes back.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: release_numbers.
-- Tests: test_deploy.py, test_deploy_trust.py.
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
-- record_ledger.expire_leases: takes back the records of a range from runs that are known to be dead.
-- It changes records whose whole window lies in [from_time, to_time), leaves others alone, and returns how many it
-- changed. A record is PENDING again after a backoff, or FAILED when no attempt is left or its claim was cancelled.
-- This is what happens when a lease runs out, without the wait.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: change_range, check_range, check_reason, clock, lock_pipeline.
-- Tests: test_ranges.py, test_two_operators.py.
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
-- record_ledger.extend_lease: the heartbeat of a run; its lease now ends one lease length from now.
-- Returns the new end. Raises RL004 unless the claim token is current, and belongs to the window when the caller names
-- one. A cancelled claim is extended too: no second run begins beside one that still writes. Appends no event.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: check_owner_of, clock, is_safe_to_write, lock_pipeline, raise_claim_lost, refuse_call.
-- Tests: test_claims.py.
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
        -- The config gives less time now, and check_record_change voids the marks of the pipeline: lock its row first,
        -- as every routine does.
        perform record_ledger.lock_pipeline(extend_lease.pipeline_id);
        v_now := record_ledger.clock();
    end if;
    -- A pass may be collecting this very lease: the second of both sees what the first one left.
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
-- The record is PENDING again after a backoff while attempts are left. It is FAILED when none is left, when retry is
-- false, or when its claim was cancelled. A window that the caller names must be the claim's (RL004 otherwise).
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: end_claim, shortened.
-- Tests: test_claims.py, test_bounds.py.
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
-- record_ledger.is_day_sealed: do windows that are done cover a local day of a pipeline without a gap?
-- The day is [its midnight, the next midnight) of the zone in force. The windows may have been cut with any zone, and
-- may begin and end anywhere. A day that is being loaded again stays published, and is sealed again when that is done.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: day_coverage, raise_unknown_pipeline.
-- Tests: test_sealed_days.py.
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
    -- PostgreSQL does not know every midnight beyond these days.
    if is_day_sealed.local_date between date '0001-01-01' and date '9999-12-31' is not true then
        raise exception 'local_date: % is not a valid day; give one such as 2026-11-22',
            coalesce(is_day_sealed.local_date::text, 'null')
            using errcode = 'RL005';
    end if;
    return (record_ledger.day_coverage(p, is_day_sealed.local_date)).is_sealed;
end
$$;
comment on function record_ledger.is_day_sealed(text, date) is
'Whether completed or waived windows cover a local day of a pipeline from its first to its last instant, archived ones included.';
-- record_ledger.new_windows: the windows of a pipeline that are due and not stored, oldest first.
-- Reads only. Each window starts where the one before it ended. max_windows null returns all of them.
-- Called by: record_ledger_reader, the Python runner, dbt.
-- Uses: clock, due_windows, next_window_start, raise_unknown_pipeline, time_interval.
-- Tests: test_windows_stored.py, test_days.py.
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
        raise exception 'as_of: % is not a valid instant', coalesce(as_of::text, 'null')
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
-- record_ledger.observe_record: records a count of a record's rows, at a stage such as source or target.
-- A caller may count at any time, also after completion. A count with the current claim token is evidence for
-- completing; a count without a token is not. Any other token raises RL004, and nothing is recorded. A count is never
-- updated. Returns its number.
-- counts_problem judges by it.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: check_detail, check_stage, loaded_count, lock_record, observation_time.
-- Tests: test_observations.py, test_two_counters.py.
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
        raise exception 'row_count: % is not a valid number of rows; '
            'give a whole number, 0 or greater',
            coalesce(observe_record.row_count::text, 'null') using errcode = 'RL005';
    end if;
    if jsonb_typeof(observe_record.detail) <> 'object' then
        raise exception 'detail: % is not a JSON object; give one such as {"bytes": 4096}',
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
'Records a count of a record''s rows at a stage; evidence for completing when the claim token is current (RL004 otherwise). Returns its number.';
-- record_ledger.oldest_pending_record: the oldest pending record, of one pipeline or of all; passes nothing.
-- The record is flat, as a pass returns it; null when nothing is pending. record_verdicts says whether it is valid.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: lane_heads, raise_unknown_pipeline, record_json, window_timezone.
-- Tests: test_record_shape.py, test_zones.py.
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
-- record_ledger.pass_valid_record: passes the oldest valid record of a pipeline to a run; stores and renders nothing.
-- Without templates in the config the pass builds an outdated record first; with templates only a run with the config
-- can.
-- The same run_id gets the same record again; a null run_id binds nothing. exit_dag true comes with a verdict and a
-- reason; the call has then written nothing, unless a lease had expired or a record was lost.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: check_owner, clock, is_run_id, is_safe_to_write, lock_pipeline, next_answer, pass_record,
--   raise_unknown_pipeline, refuse_call, unbuilt_reason.
-- Tests: test_passing.py, test_run_ids.py.
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
    -- First without the lock: runs may ask an idle pipeline every minute, and its answer costs no write.
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
-- record_ledger.pass_valid_records: the whole cycle for several records, in one statement and one commit.
-- It registers, stores and passes as store_new_and_pass_valid_record does, and then passes further records, oldest
-- first, up to the limit. The k-th record is bound to run_id/k and has its own claim. A batch is fixed once drawn: the
-- same run_id gets its unfinished records again, and no others.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: batch_to_build, build_records, clock, is_run_id, lock_pipeline, pass_record, register_config,
--   store_new_and_pass_valid_record, store_windows, to_build_reason.
-- Tests: test_batches.py.
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
        raise exception 'record_limit: % is not a valid number of records',
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
        -- Only now: the same call may have been running already, and the call above has waited for it.
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

        -- The first pass has taken this lock already, unless it exited.
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
        -- A batch is fixed once drawn: so nothing is passed until all of it is built. What the caller sent is built by
        -- itself, so that the next call asks for the rest.
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
-- Runs in progress continue and may end their claims in any way; new windows are stored. A second pause replaces the
-- reason. A retired pipeline stays retired.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: append_pipeline_event, check_reason, clock, lock_pipeline.
-- Tests: test_pausing.py.
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
    -- A pass that holds the pipeline goes first; later passes see it paused.
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
-- A time without an offset is the local time of the zone in force, and a bare date is its first instant. A time that
-- clocks skip is the end of the gap. A text that is not a time, or that clocks show twice, raises RL005.
-- Called by: record_ledger_reader, the Python runner, dbt, window_time.
-- Uses: raise_unknown_pipeline, start_instant, twofold_time.
-- Tests: test_zones.py, test_range_effects.py.
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
        raise exception 'time_text: % is not a valid time',
            coalesce('"' || left(time_text, 80) || '"', 'null')
            using errcode = 'RL005',
            hint = 'Give ISO 8601 of the years 1900 to 9000, such as "2026-01-01" or '
                '"2026-01-01T06:00" (local time of the '
                'pipeline), or with an offset "2026-01-01T06:00+01:00".';
    end if;
    v_problem := record_ledger.twofold_time(time_text, v_timezone);
    if v_problem is not null then
        raise exception 'time_text: %', v_problem
            using errcode = 'RL005', hint = 'Give one of the two, with its offset.';
    end if;
    return v_instant;
end
$$;
comment on function record_ledger.pipeline_time(text, text) is
'An ISO 8601 time as an instant: without an offset it is the pipeline''s local time, a bare date its first instant; RL005 when clocks show it twice.';
-- record_ledger.plan_runs: simulates the next runs of a pipeline: which window each is passed, and when; writes
-- nothing.
-- It assumes that workers ask whenever they are free, and that each run takes run_duration and completes. The default
-- run_duration is the median of the newest completed runs.
-- It returns one row per run. When it foresees fewer runs than the caller asked for, a last row without run_no says
-- why.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: clock, expected_duration, is_stable, local_time, planned_passes, raise_unknown_pipeline, retry_time, shortened,
--   time_interval, window_timezone.
-- Tests: test_plan_runs.py, test_plan_agrees.py.
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
            then format('at: %s is not a valid instant', v_from)
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
                    'so every later record is incomplete',
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
                when s.waited_for is null and s.run_no <= v_workers then 'starts immediately'
                when s.waited_for is null
                    then format('starts when run %s ends', s.run_no - v_workers)
                when s.starts_at = s.window_end_time + p.x_time_back
                    then 'starts when its data is stable'
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
                then 'no completed run to measure: 0 s is assumed' end
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
-- record_ledger.range_effects: what an operation on a range would change, and what it would leave alone and why.
-- One row per effect, status and reason; reads only. operation: waive, reopen, expire, cancel or backfill.
-- A backfill adds windows back to from_time; it ignores to_time. It leaves alone the records that the range holds
-- already (with to_time null, all later ones). Archived records are left alone too: nothing changes them any more.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: backfill_windows, check_backfill, check_range, clock, is_in_range, is_lost, raise_unknown_pipeline,
--   status_after.
-- Tests: test_range_effects.py.
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
        raise exception 'operation: % is not one of waive, reopen, expire, cancel and backfill',
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
                -- From the window that contains from_time: the primary key finds windows by their start.
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
-- It is for operators in psql, and for ranges of many records: the pipeline's runs get their turn between two steps. An
-- interrupted call leaves a valid ledger; the next call does the rest. changed_count says how many records changed. A
-- notice reports the progress every ten seconds. The procedure commits, so a transaction block cannot call it.
-- Called by: record_ledger_runner.
-- Uses: range_step.
-- Tests: test_range_steps.py.
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
-- operation: waive, reopen, expire, cancel or backfill. It changes at most max_records, the oldest of the range first.
-- A backfill ignores to_time and adds at most max_records, and at most 10,000, the newest first. The next call takes:
--   go_on_from         from_time of the next step; null when this was the last one
--   next_max_records   how many that one can change in 40 ms under the pipeline's lock, by what this one took
-- A step reads at most 10,000 records, so it may change none and not be the last. Each call is a transaction of its
-- own. What earlier steps did stays, and a repeated step changes only what is left.
-- Called by: record_ledger_runner, the Python runner, dbt, range_in_steps.
-- Uses: backfill_range, change_range, check_backfill, check_range, check_reason, clock, day_start, is_in_range,
--   is_lost, local_day, lock_pipeline, status_after.
-- Tests: test_range_steps.py.
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
    -- Not clock(): this measures how long other sessions wait, and not the ledger's time.
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
            -- At most twice as many: the next records may cost more.
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
-- record_ledger.records_as_of: the ledger as it stood at an instant, archived records included.
-- One row per record that was stored by then, as its newest event until then left it. The ledger's own times count: a
-- change that was made before the instant and committed after it is included. PostgreSQL merges the query below into
-- the query around it, so a filter on one pipeline or window reads only that one.
-- It reverses what check_record_change did with each event. Types are exact (docs/design.md, Names).
-- Called by: record_ledger_reader, the Python runner.
-- Uses: archived_record_events, archived_records, pipeline_records, record_events.
-- Tests: test_as_of.py.
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
            -- The event of a release has its attempt, but the record does not count it.
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
            -- Its newest event is that old: no other one is needed.
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
    -- The first build after the instant has the state before it; a build that changed no field is recorded in its pass.
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
    -- For each field that was changed since: its value before the first change; none where it was added.
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
'The ledger as it stood at an instant: one row per record stored by then, archived ones included, computed from its events.';
-- record_ledger.recount_due: which windows of a pipeline should have their source counted again, longest due first.
-- A completed record is due at each age of recount_ages since the count that its generation stands on. It stays due
-- until a count of its source is recorded at that age or later. Several missed ages need one count. A record is not due
-- when its source data is gone, or when twice the last age has passed. A retired pipeline has none.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: clock, is_lost, loaded_count, raise_unknown_pipeline.
-- Tests: test_recounts.py, test_recount_plans.py.
create or replace function record_ledger.recount_due(pipeline_id text)
returns table (
    window_start_time timestamptz,
    window_end_time timestamptz,
    target_day date,
    generation integer,
    -- The count that the generation stands on, and when it was recorded.
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
        -- An adopted observation is younger than the count that it takes over.
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
-- record_ledger.register_pipeline: validates a config and makes it the one in force; returns the pipeline_id.
-- It inserts or updates; it writes nothing when the config in force has the same meaning. One error, RL001, lists all
-- problems.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: check_owner, configured, is_safe_to_write, is_same_config, note_start_at, refuse_call, register_config,
--   warn_of_misspelt_keys.
-- Tests: test_registering.py, test_config_rules.py.
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
    -- First without the lock: a lock writes, and most calls change nothing.
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
-- record_ledger.release_record: gives a passed record back untouched; the attempt is not counted.
-- The record is PENDING again immediately. With not_before, no run is passed it before that instant, this run included.
-- A cancelled claim ends as FAILED instead. Needs the current claim token, and the claim's window when the caller names
-- one (RL004 otherwise). A repeated call changes nothing.
-- A run calls it when it was stopped before it began, or when its source is not ready.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: end_claim, iso_time.
-- Tests: test_claims.py, test_postponing.py.
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
    -- A time that a driver cannot read would break the overview of all pipelines.
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
-- It reopens the oldest first, and at most reopen_budget in one local day of the pipeline. The rest waits in
-- changed_records for the next day. A record whose source data is gone is left alone. Returns how many it reopened.
-- A daily task calls it.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: append_pipeline_event, changed_records, clock, local_day, local_time, lock_pipeline, reopen_range.
-- Tests: test_recounts.py, test_recount_sessions.py.
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
    -- Otherwise two calls could spend the budget twice, and a pass could miss what is reopened.
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
-- record_ledger.reopen_records: makes the finished and failed records of a range pending once more.
-- It changes records whose whole window lies in [from_time, to_time), leaves others alone, and returns how many it
-- changed. A new generation begins with no attempt made. record_events keeps what earlier generations did, and runs
-- stay bound.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: change_range, check_range, check_reason, clock, lock_pipeline.
-- Tests: test_ranges.py, test_starting_again.py.
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
    -- Otherwise a pass could miss what is reopened, and another operator could reopen a record twice.
    p := record_ledger.lock_pipeline(pipeline_id);
    return record_ledger.change_range(
        'reopen', p, from_time, to_time, reason, record_ledger.clock()
    );
end
$$;
comment on function record_ledger.reopen_records(text, timestamptz, timestamptz, text) is
'Makes the completed, failed and waived records whose whole window lies in a range PENDING once more, with a reason; returns how many.';
-- record_ledger.resume_pipeline: lets a paused or retired pipeline run again; returns whether it was paused or retired.
-- A pipeline that was neither stays as it is, and nothing is recorded.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: append_pipeline_event, check_reason, clock, lock_pipeline.
-- Tests: test_pausing.py.
create or replace function record_ledger.resume_pipeline(
    pipeline_id text, reason text default null
)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    -- Another operator may be pausing it: the later call decides.
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
'Lets a paused or retired pipeline run again; returns whether it was paused or retired.';
-- record_ledger.retire_pipeline: pauses a pipeline for good: no window is stored any more, and no status lists it.
-- Its history stays, and runs in progress may end their claims in any way. A second call replaces the reason.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: append_pipeline_event, check_reason, clock, lock_pipeline.
-- Tests: test_pausing.py.
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
    -- A pass that holds the pipeline goes first; later passes see it retired.
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
'Pauses a pipeline for good: nothing is stored or passed any more and no status lists it, but its history stays.';
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
-- record_ledger.store_new_and_pass_valid_record: the whole cycle in one statement and one commit.
-- Registers the config, stores the due windows, collects expired leases and passes the oldest valid record to the run.
-- A config with templates is answered with to_build until the caller has rendered them and sends them back as built.
-- Most calls are alike: a config in force that asks for nothing special, and nothing open but records that wait in
-- order. Such a call costs what a session sets up for it: statements, look-ups, expressions. It is made of the fewest
-- here. Whatever is otherwise goes the long way, which begins anew.
-- Called by: record_ledger_runner, the Python runner, dbt, pass_valid_records.
-- Uses: clock, due_reason, first_look, first_open, first_waiting, is_run_id, is_safe_to_write, is_within_day,
--   last_window, next_claim_token, next_lease_mark, passed_reason, record_object, register_store_and_pass,
--   unstable_reason.
-- Tests: test_passing.py, test_usual_call.py, test_usual_call_sessions.py.
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
-- record_ledger.store_new_records: stores the windows of a pipeline that are due, at most 10,000 in one call.
-- Without built, the windows of a pipeline with templates are stored unbuilt. With built, windows are stored up to the
-- first one that it lacks, and outdated pending records take their fields from it. An entry that fits no window, or
-- that was rendered with an older config_version, is ignored. stored_count says how many are new.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: build_records, built_problem, clock, lock_pipeline, store_windows.
-- Tests: test_windows_stored.py, test_building.py.
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
                'A runner of an older release sends less: upgrade it.';
    end if;
    perform record_ledger.build_records(p, built, v_now);
    stored_count := record_ledger.store_windows(p, nullif(built, '[]'), v_now);
end
$$;
comment on procedure record_ledger.store_new_records(text, jsonb, integer) is
'Stores the windows of a pipeline that are due, at most 10,000 in one call; stored_count says how many.';
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
-- record_ledger.waive_counts: lets a record be completed although its counts do not agree; nothing else does.
-- It holds for the record's present generation, while that is pending or in progress (RL003 otherwise). The history
-- keeps the reason. Returns false when the counts were waived already. check_record_change guards the change.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: check_reason, clock, local_time, lock_pipeline, lock_record, window_timezone.
-- Tests: test_waived_counts.py.
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
    -- A pass comes before this or after it. The record's lock then keeps runs from completing it, and operators from
    -- reopening it, until this is committed.
    p := record_ledger.lock_pipeline(waive_counts.pipeline_id);
    r := record_ledger.lock_record(p.pipeline_id, waive_counts.window_start_time);
    if p.required_counts is null then
        raise exception 'required_counts: the config of pipeline % requires no counts, '
            'so there is nothing to waive',
            p.pipeline_id
            using errcode = 'RL005',
            hint = 'Only the records of a config with required_counts have counts to waive.';
    end if;
    if r.status not in ('PENDING', 'IN_PROGRESS') then
        raise exception 'window % of pipeline % is %: '
            'counts can be waived only while a record is PENDING or IN_PROGRESS',
            record_ledger.local_time(
                r.window_start_time, record_ledger.window_timezone(p, r.window_start_time)
            ),
            r.pipeline_id,
            r.status
            using errcode = 'RL003',
            hint = 'Reopen the record, and waive the counts of its new generation.';
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
'Lets the present generation of a record be completed although its counts do not agree, with a reason; returns whether that is new.';
-- record_ledger.waive_records: marks the pending and failed records of a range WAIVED: no run is needed for them.
-- It changes records whose whole window lies in [from_time, to_time), leaves others alone, and returns how many it
-- changed.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: change_range, check_range, check_reason, clock, lock_pipeline.
-- Tests: test_ranges.py.
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
-- A window is named by the clock that it was cut with, which is how tables show it. A text that names no stored window
-- so is a time of the zone in force. A text that could be two windows, or that clocks skip, raises RL005.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: day_start, last_window, local_instant, local_instants, local_time, pipeline_time, raise_unknown_pipeline,
--   wall_time.
-- Tests: test_zones.py.
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
        raise exception 'time_text: "%" could be two windows of pipeline %: % and %',
            window_time.time_text, window_time.pipeline_id, v_names[1], v_names[2]
            using errcode = 'RL005', hint = 'Give one of the two, with its offset.';
    elsif v_starts is not null then
        return v_starts[1];
    end if;
    if not v_is_date and record_ledger.local_instants(v_wall, v_timezone) = '{}' then
        raise exception
            'time_text: "%" names no window: clocks of % skip that time; the next one is %',
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
-- record_ledger.archived_record_events: the history of each archived record, one row per change of its state.
-- It has the columns of record_events; the rows moved to the archive unchanged, with their record.
-- Read by: record_ledger_reader, the Python runner, dbt, claim_loss, records_as_of.
-- Uses: none.
-- Tests: test_archive.py.
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
comment on column record_ledger.archived_record_events.event_no is 'Numbers the events of a record, starting at 1.';
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
-- It has the columns of record_observations; the rows moved to the archive unchanged, with their record.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: none.
-- Tests: test_archive.py, test_observations.py.
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
comment on column record_ledger.archived_record_observations.observation_no is 'Numbers the observations of a record, starting at 1.';
comment on column record_ledger.archived_record_observations.observed_at is 'When the count was recorded.';
comment on column record_ledger.archived_record_observations.stage is 'Where it was counted: source, stage, target or another name that the team chose.';
comment on column record_ledger.archived_record_observations.row_count is 'How many rows were counted.';
comment on column record_ledger.archived_record_observations.detail is 'What else was observed: bytes, digests.';
comment on column record_ledger.archived_record_observations.generation is 'The generation that the record was in.';
comment on column record_ledger.archived_record_observations.claim_token is 'The claim under which it was counted, current at the time; null when it was counted without one.';
comment on column record_ledger.archived_record_observations.run_id is 'The run of that claim.';
comment on column record_ledger.archived_record_observations.actor is 'The database role that recorded it.';
comment on column record_ledger.archived_record_observations.adopted_no is 'The observation of an earlier claim that this one takes over; null when it was counted anew.';
comment on column record_ledger.archived_record_observations.is_evidence is
'Whether it decides, or decided, about completing: the newest of its stage under the claim that holds or completed the generation.';
-- record_ledger.archived_records: the finished records that archive_records has moved out of the ledger, for analysts.
-- One row per archived record, with the columns of pipeline_records and when it was archived.
-- Read by: record_ledger_reader, the Python runner, dbt, day_coverage, records_as_of.
-- Uses: time_interval.
-- Tests: test_archive.py.
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
    -- Neither a waiver nor a failed attempt publishes or unpublishes a generation.
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
comment on column record_ledger.archived_records.counts_waived is 'Whether an operator has waived the counts of this generation.';
comment on column record_ledger.archived_records.window_timezone is 'The IANA time zone that the window was cut with.';
-- record_ledger.changed_records: the completed records whose source has changed since they were loaded.
-- One row per completed record whose newest count of the source differs from the one that its generation stands on.
-- Retired pipelines have none: nothing would load them again.
-- Read by: record_ledger_reader, the Python runner, dbt, reopen_changed_records.
-- Uses: count_tolerance, window_timezone.
-- Tests: test_recounts.py.
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
-- The offsets make the plan read the few that differ first, and then their records, independent of the statistics.
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
'The completed records whose source has changed since: one row per record whose newest count of the source differs from the one that it was loaded with.';
comment on column record_ledger.changed_records.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.changed_records.window_start_time is 'The first instant of the window.';
comment on column record_ledger.changed_records.window_end_time is 'The first instant after the window.';
comment on column record_ledger.changed_records.target_day is 'The local day of the window''s start.';
comment on column record_ledger.changed_records.generation is 'The generation that was completed before the source changed.';
comment on column record_ledger.changed_records.loaded_count is 'How many rows the source had when the record was loaded.';
comment on column record_ledger.changed_records.source_count is 'How many rows it had when it was last counted.';
comment on column record_ledger.changed_records.changed_by is 'The difference; below 0 when the source has lost rows.';
comment on column record_ledger.changed_records.observed_at is 'When it was last counted.';
comment on column record_ledger.changed_records.is_beyond_tolerance is
'Whether the difference exceeds the tolerance of required_counts (0 rows by default): reopen_changed_records then reopens the record.';
comment on column record_ledger.changed_records.window_timezone is 'The IANA time zone that the window was cut with.';
-- record_ledger.daily_coverage: how the windows of each pipeline cover each local day, from the first to the newest.
-- One row per pipeline and local day, archived windows included; a date that the zone has skipped has no row. Days are
-- those of the zone in force, even for windows that were cut with another one.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: day_coverage, days_with_windows.
-- Tests: test_sealed_days.py.
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
comment on column record_ledger.daily_coverage.day_start_time is 'The first instant of the day: its local midnight.';
comment on column record_ledger.daily_coverage.day_end_time is 'The first instant after the day: the next local midnight.';
comment on column record_ledger.daily_coverage.first_window_start_time is 'Where the first window that begins in the day starts: at its midnight, unless the pipeline begins in the day or was cut with another zone; null without one.';
comment on column record_ledger.daily_coverage.day_length is 'How long the day is: 24 h unless clocks change.';
comment on column record_ledger.daily_coverage.covered_length is 'How much of the day published or waived windows cover.';
comment on column record_ledger.daily_coverage.window_count is 'How many windows begin in the day.';
comment on column record_ledger.daily_coverage.published_count is 'How many of them have a generation that was completed.';
comment on column record_ledger.daily_coverage.waived_count is 'How many of them are WAIVED.';
comment on column record_ledger.daily_coverage.lost_count is 'How many of these were waived because their source data was gone.';
comment on column record_ledger.daily_coverage.open_count is 'How many of them are PENDING, IN_PROGRESS or FAILED, published or not.';
comment on column record_ledger.daily_coverage.is_published is 'Whether published or waived windows cover the day from its first to its last instant: readers find no gap.';
comment on column record_ledger.daily_coverage.is_sealed is 'Whether completed or waived windows cover the day from its first to its last instant: published, and none of them is open again.';
comment on column record_ledger.daily_coverage.counts is
'The counts that published generations stand on, {stage: {"rows": ..., "windows": ...}}: how many rows, from how many windows.';
-- record_ledger.oldest_valid_record: the record that each pipeline would be passed next.
-- One row per pipeline: its oldest pending record that is stable and complete; no row when there is none. A record
-- whose lease has expired counts when the next pass would hand it out.
-- It asks next_answer, as a pass does.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: clock, pipeline_answer, time_interval, window_timezone.
-- Tests: test_passing.py.
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
-- record_ledger.pipeline_events: the changes of each pipeline as a whole: what was done, by which role and when.
-- One row per change, never updated or deleted.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: none.
-- Tests: test_registering.py, test_pausing.py.
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
comment on column record_ledger.pipeline_events.event_no is 'Numbers the changes of a pipeline, starting at 1.';
comment on column record_ledger.pipeline_events.event_time is 'When the change was made.';
comment on column record_ledger.pipeline_events.event is 'What happened: registered, reconfigured, backfilled, lost, changed_reopened, archived, paused, resumed or retired.';
comment on column record_ledger.pipeline_events.actor is 'The database role that made the change.';
comment on column record_ledger.pipeline_events.detail is 'What the change says: the config and its version, or same_config_as_version where a config returns, a reason, what a backfill added, what was archived, lost or reopened.';
-- record_ledger.pipeline_lateness: how late data came, per pipeline and recount age.
-- One row per pipeline and age, 0 (the count that windows were loaded with) included. lateness says which windows
-- count.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: lateness.
-- Tests: test_lateness.py.
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
comment on column record_ledger.pipeline_lateness.window_count is 'From how many windows the row is computed.';
comment on column record_ledger.pipeline_lateness.late_window_count is 'In how many of them rows came later.';
comment on column record_ledger.pipeline_lateness.row_count is 'How many rows these windows have by their newest counts.';
comment on column record_ledger.pipeline_lateness.min_lateness is 'The least time from the end of a window to its count of this age; null without windows.';
comment on column record_ledger.pipeline_lateness.max_lateness is 'The greatest time from the end of a window to its count of this age: an x_time_back of this length misses no more.';
comment on column record_ledger.pipeline_lateness.missed_share is 'The share of all rows that came later than the counts of this age; null when computed from fewer than 20 windows.';
comment on column record_ledger.pipeline_lateness.worst_missed_share is 'The missed share of the window that missed most.';
-- record_ledger.pipeline_progress: where each pipeline stands now.
-- One row per pipeline that is not retired: its answer to a run, its open records by state, how far behind it is.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: clock, first_window_start, is_at_risk, next_window, open_windows, pipeline_answer.
-- Tests: test_verdicts.py, test_pausing.py.
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
        -- Outdated ones count by what default_record fills; otherwise only records that callers filled are complete.
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
'Where each pipeline stands now: one row per pipeline that is not retired, with its answer to a run, its open records and its lag.';
comment on column record_ledger.pipeline_progress.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.pipeline_progress.timezone is 'The IANA time zone of the pipeline.';
comment on column record_ledger.pipeline_progress.verdict is 'What a new run would be answered: READY, or the verdict that a pass would exit with.';
comment on column record_ledger.pipeline_progress.reason is 'One sentence that says why.';
comment on column record_ledger.pipeline_progress.ready_at is 'When the record that decides the verdict can be passed as things stand; null when a run or an operator must act first.';
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
comment on column record_ledger.pipeline_progress.at_risk_count is 'How many windows are open, or due and not stored yet, and lose their source data within at_risk_within.';
comment on column record_ledger.pipeline_progress.lost_count is 'How many records passes have waived as lost so far.';
-- record_ledger.pipeline_records: the ledger itself, for analysts.
-- One row per record: its window, its status and its fields; key_x, key_y and key_z are the fields of those names.
-- Read by: record_ledger_reader, the Python runner, dbt, day_coverage, records_as_of.
-- Uses: sees_tokens, time_interval.
-- Tests: test_passing.py, test_zones.py.
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
    -- A pass builds an outdated open record first: so the fields that default_record leaves empty are missing.
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
    -- Neither a waiver nor a failed attempt publishes or unpublishes a generation.
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
'The ledger: one row per record (a window of a pipeline), with its status and fields.';
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
comment on column record_ledger.pipeline_records.claim_token is 'The token of the newest claim; null while the record is pending, and to roles other than runners while it is in progress.';
comment on column record_ledger.pipeline_records.run_id is 'The run of the newest claim; null while the record is pending.';
comment on column record_ledger.pipeline_records.lease_expires_at is 'When the claim of a record in progress ends without a heartbeat.';
comment on column record_ledger.pipeline_records.retry_at is 'Until when a failed attempt, or a release with not_before, keeps the record from being passed.';
comment on column record_ledger.pipeline_records.missing_fields is 'The fields that are empty but must not be; null when the record is complete.';
comment on column record_ledger.pipeline_records.config_version is 'The version of the config the fields were built with; null when they are unbuilt.';
comment on column record_ledger.pipeline_records.last_event is 'The newest event of the record; null when it was only stored.';
comment on column record_ledger.pipeline_records.last_detail is 'What the newest event says: an error, a reason, counts.';
comment on column record_ledger.pipeline_records.published_generation is
'The newest generation that was completed: it is published until a later one is completed; null when none was.';
comment on column record_ledger.pipeline_records.counts_waived is 'Whether an operator has waived the counts of this generation.';
comment on column record_ledger.pipeline_records.window_timezone is 'The IANA time zone that the window was cut with.';
comment on column record_ledger.pipeline_records.is_outdated is
'Whether the fields were built before default_record or check_fields last changed, or never; a pass builds a pending record first.';
-- record_ledger.pipelines: the registered pipelines and the config each has in force.
-- One row per pipeline, durations as intervals, defaults filled in.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: none.
-- Tests: test_registering.py.
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
comment on column record_ledger.pipelines.x_time_back is 'How long after the end of a window its data becomes stable.';
comment on column record_ledger.pipelines.granularity is 'The length of a window; 24 hours or more mean the local day.';
comment on column record_ledger.pipelines.check_fields is 'The fields that must be non-empty in a complete record.';
comment on column record_ledger.pipelines.start_at is 'Where the first window starts, when the config says so; it stays once there are records.';
comment on column record_ledger.pipelines.max_active_records is 'How many records may be in progress at the same time; null means no limit.';
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
comment on column record_ledger.pipelines.backfill_share is 'The least share of passes that backfilled and reopened records get while live ones wait too; 0 means oldest first.';
comment on column record_ledger.pipelines.is_retired is 'Whether the pipeline was retired: nothing is stored or passed any more, and no status lists it.';
comment on column record_ledger.pipelines.required_counts is 'The stages whose counts must agree before a record is completed, and the tolerance; null means none.';
comment on column record_ledger.pipelines.source_retention is 'How long after the end of a window its source data is kept; null when the config does not say.';
comment on column record_ledger.pipelines.at_risk_within is 'How long before its source data goes an open record is at risk; null without source_retention.';
comment on column record_ledger.pipelines.pass_order is 'oldest, or deadline: what is at risk goes before the turns of a backfill_share.';
comment on column record_ledger.pipelines.recount_ages is 'How long after its first count the source of a completed window is to be counted again, ascending.';
comment on column record_ledger.pipelines.reopen_budget is 'How many records reopen_changed_records may reopen in one local day.';
comment on column record_ledger.pipelines.fields_version is
'The config_version at which default_record or check_fields last changed: records that were built before it are outdated.';
comment on column record_ledger.pipelines.owner_role is 'The role whose members alone act in the pipeline; null when it is every runner''s.';
-- record_ledger.record_events: the history of each record, one row per change of its state.
-- Rows are numbered per record and never rewritten; they leave for the archive only with their record. Storing a record
-- and a heartbeat are not events.
-- Read by: record_ledger_reader, the Python runner, dbt, claim_loss, records_as_of.
-- Uses: sees_tokens.
-- Tests: test_state_machine.py.
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
comment on column record_ledger.record_events.event_no is 'Numbers the events of a record, starting at 1.';
comment on column record_ledger.record_events.event_time is 'When the change was made.';
comment on column record_ledger.record_events.event is
'passed, passed_again, completed, failed, released, lease_expired, cancelled, waived, reopened, rebuilt or counts_waived.';
comment on column record_ledger.record_events.from_status is 'The status before the change.';
comment on column record_ledger.record_events.to_status is 'The status after the change.';
comment on column record_ledger.record_events.generation is 'The generation the change belongs to.';
comment on column record_ledger.record_events.attempt is 'The attempt the change belongs to.';
comment on column record_ledger.record_events.claim_token is 'The claim that made the change or was ended by it; null to roles other than runners while that claim is current.';
comment on column record_ledger.record_events.run_id is 'The run of that claim.';
comment on column record_ledger.record_events.actor is 'The database role that made the change.';
comment on column record_ledger.record_events.detail is 'What the change says: an error, a reason, counts, the fields before.';
-- record_ledger.record_observations: the counts of each record, at each stage.
-- Rows are numbered per record and never rewritten; they leave for the archive only with their record.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: sees_tokens.
-- Tests: test_observations.py.
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
comment on column record_ledger.record_observations.observation_no is 'Numbers the observations of a record, starting at 1.';
comment on column record_ledger.record_observations.observed_at is 'When the count was recorded.';
comment on column record_ledger.record_observations.stage is 'Where it was counted: source, stage, target or another name that the team chose.';
comment on column record_ledger.record_observations.row_count is 'How many rows were counted.';
comment on column record_ledger.record_observations.detail is 'What else was observed: bytes, digests.';
comment on column record_ledger.record_observations.generation is 'The generation that the record was in.';
comment on column record_ledger.record_observations.claim_token is 'The claim under which it was counted, current at the time; null when it was counted without one, and to roles other than runners while it is still current.';
comment on column record_ledger.record_observations.run_id is 'The run of that claim.';
comment on column record_ledger.record_observations.actor is 'The database role that recorded it.';
comment on column record_ledger.record_observations.adopted_no is 'The observation of an earlier claim that this one takes over; null when it was counted anew.';
comment on column record_ledger.record_observations.is_evidence is
'Whether it decides, or decided, about completing: the newest of its stage under the claim that holds or completed the generation.';
-- record_ledger.record_verdicts: why each open record is passed or not now.
-- One row per open record (PENDING, IN_PROGRESS or FAILED) with exactly one verdict and a sentence that says why.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: clock, is_lost, open_counts_problem, record_verdict, window_timezone.
-- Tests: test_verdicts.py.
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
            -- Lost records hold up nothing: the next pass waives them.
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
    -- The offset makes the plan compute it once per pipeline, and not once per record.
    offset 0
) as others
join record_ledger.record as r on r.open_pipeline_id = p.pipeline_id
cross join lateral record_ledger.record_verdict(
    r, p, others.earliest_open, others.active_count, moment.as_of
) as v;
comment on view record_ledger.record_verdicts is
'Why each open record is passed or not now: one row per open record with one verdict and one sentence.';
comment on column record_ledger.record_verdicts.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.record_verdicts.window_start_time is 'The first instant of the window.';
comment on column record_ledger.record_verdicts.window_end_time is 'The first instant after the window.';
comment on column record_ledger.record_verdicts.target_day is 'The local day of the window''s start.';
comment on column record_ledger.record_verdicts.status is 'PENDING, IN_PROGRESS or FAILED.';
comment on column record_ledger.record_verdicts.verdict is
'LEASE_EXPIRED, LEASED, LOST, FAILED, PAUSED, INCOMPLETE, UNSTABLE, BACKOFF, BLOCKED, AT_CAPACITY or READY: the first that applies.';
comment on column record_ledger.record_verdicts.reason is 'One sentence that says why.';
comment on column record_ledger.record_verdicts.ready_at is 'When the record can be passed as things stand; null when a run or an operator must act first.';
comment on column record_ledger.record_verdicts.missing_fields is 'The fields that are empty but must not be; null when the record is complete.';
comment on column record_ledger.record_verdicts.generation is 'Counts from 1; one more each time the record is reopened.';
comment on column record_ledger.record_verdicts.attempt is 'How many attempts of this generation have begun.';
comment on column record_ledger.record_verdicts.run_id is 'The run that holds the record; null while it is pending.';
comment on column record_ledger.record_verdicts.lease_expires_at is 'When the claim of a record in progress ends without a heartbeat.';
comment on column record_ledger.record_verdicts.counts_problem is 'Why the counts of a record in progress do not let it be completed; null when they do, or when none are required.';
comment on column record_ledger.record_verdicts.window_timezone is 'The IANA time zone that the window was cut with.';
comment on column record_ledger.record_verdicts.is_outdated is
'Whether the fields were built before default_record or check_fields last changed, or never; a pass builds a pending record first.';
-- record_ledger.records_at_risk: how long the source data of each open window is still there.
-- One row per open record, and per window that is due and not stored yet, of the pipelines with a source_retention.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: clock, is_at_risk, open_windows, window_timezone.
-- Tests: test_retention.py.
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
'How long the source data of each open window is still there: one row per open record or due window of a pipeline with a source_retention.';
comment on column record_ledger.records_at_risk.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.records_at_risk.window_start_time is 'The first instant of the window.';
comment on column record_ledger.records_at_risk.window_end_time is 'The first instant after the window.';
comment on column record_ledger.records_at_risk.target_day is 'The local day of the window''s start.';
comment on column record_ledger.records_at_risk.status is 'PENDING, IN_PROGRESS or FAILED; null when the window is due and not stored yet.';
comment on column record_ledger.records_at_risk.source_kept_until is 'The first instant at which its source data is gone.';
comment on column record_ledger.records_at_risk.time_left is 'How long until then; below 0 when it is gone, and the next pass waives the record unless a run holds it.';
comment on column record_ledger.records_at_risk.is_at_risk is 'Whether the source data will be gone within at_risk_within.';
comment on column record_ledger.records_at_risk.window_timezone is 'The IANA time zone that the window was cut with, or will be.';
-- record_ledger comments: what each private table is, as the catalogue says it.
-- Migrations are never edited, so the comments on all tables are here. Views and functions are described in their own
-- files.
-- Applied by: every deploy. It writes a comment only where it differs: a comment waits for vacuum of its table.
-- Rules: a column has a comment where its name does not say what it is to a reader of the catalogue.
do $$
declare
    v_changed record;
begin
    for v_changed in
        with wanted (relation, field, description) as (
            values
                (
                    'archived_record', null,
                    'Private. Append-only: one row per record that archive_records has moved here. '
                    'Read through archived_records.'
                ),
                (
                    'archived_record_event', null,
                    'Private. Append-only: the events of archived records. Read through '
                    'archived_record_events.'
                ),
                (
                    'archived_record_observation', null,
                    'Private. Append-only: the observations of archived records. Read through '
                    'archived_record_observations.'
                ),
                (
                    'claim', null,
                    'Private. Append-only: one row per pass: which token is for which record, '
                    'which run is bound to it, and where the next pass may start to look.'
                ),
                (
                    'claim', 'historical_credit',
                    'Private. Grows by backfill_share per pass while both kinds wait; at 1 a '
                    'historical record is due.'
                ),
                (
                    'deployment', null,
                    'Private. One row per release of record_ledger that was deployed here; the '
                    'newest one is in force.'
                ),
                (
                    'migration', null,
                    'Private. One row per applied migration, with the checksum of its text.'
                ),
                (
                    'pipeline', null,
                    'Private. One row per pipeline: its config as given and as read. Its row lock '
                    'orders all passes of the pipeline.'
                ),
                (
                    'pipeline_event', null,
                    'Private. Append-only: one row per change of a pipeline as a whole. Read '
                    'through pipeline_events.'
                ),
                (
                    'pipeline_zone', null,
                    'Private. One row per stretch of windows of a pipeline that were cut with one '
                    'time zone.'
                ),
                (
                    'record', null,
                    'Private. The ledger: one row per window of a pipeline. Read through '
                    'pipeline_records.'
                ),
                (
                    'record', 'awaits_build',
                    'Private. Not used any more: the lane and the config_version say which record '
                    'is to be built.'
                ),
                (
                    'record', 'out_of_order',
                    'Private. Not used any more: a record that has left the lane ''waiting'' never '
                    'comes back to it.'
                ),
                (
                    'record_event', null,
                    'Private. Append-only: one row per change of a record, numbered per record. '
                    'Read through record_events.'
                ),
                (
                    'record_observation', null,
                    'Private. Append-only: one row per count of a record, numbered per record. '
                    'Read through record_observations.'
                )
        ),

        found as (
            select c.relname::text as relation, a.attname::text as field, d.description
            from pg_description as d
            join pg_class as c on c.oid = d.objoid and d.classoid = 'pg_class'::regclass
            left join pg_attribute as a on a.attrelid = c.oid and a.attnum = nullif(d.objsubid, 0)
            where c.relnamespace = 'record_ledger'::regnamespace
                and c.relkind in ('r', 'p')
                and not c.relispartition
        )

        select
            case
                when coalesce(w.field, f.field) is null then format('table record_ledger.%I', n)
                else format('column record_ledger.%I.%I', n, coalesce(w.field, f.field))
            end as object,
            w.description
        from wanted as w
        full join found as f
            on f.relation = w.relation and coalesce(f.field, '') = coalesce(w.field, '')
        cross join coalesce(w.relation, f.relation) as n
        where w.description is distinct from f.description
    loop
        execute format('comment on %s is %L', v_changed.object, v_changed.description);
    end loop;
end
$$;
-- record_ledger.public_objects: the one list of what callers may use; all other objects are private.
-- One row per object of api/ and views/: its kind, its name with the types of its arguments, and the role that may use
-- it: 'reader' is record_ledger_reader, and record_ledger_runner too. A new object is added here: grants.sql grants it,
-- verify.sql looks for it, and tests compare the list with the folders and with README.md.
-- Applied by: every deploy, before grants.sql and verify.sql, which read it.
-- Rules: names, arguments and result columns stay as they are within a major release.
create or replace function record_ledger.public_objects()
returns table (kind text, object text, role text)
language sql
immutable
as $$
    values
    ('function', 'adopt_observations(text, bigint, text, timestamptz)', 'runner'),
    ('function', 'archivable_records(text, timestamptz, integer)', 'reader'),
    ('function', 'archive_records(text, timestamptz, integer)', 'runner'),
    ('function', 'backfill_records(text, timestamptz, text)', 'runner'),
    ('function', 'cancel_records(text, timestamptz, timestamptz, text)', 'runner'),
    ('function', 'claim_state(text, bigint)', 'runner'),
    ('function', 'complete_and_pass(text, bigint, text, jsonb, timestamptz)', 'runner'),
    ('function', 'complete_record(text, bigint, jsonb, timestamptz)', 'runner'),
    ('function', 'complete_records(text, bigint[], jsonb[], timestamptz[])', 'runner'),
    ('function', 'deployed_release()', 'reader'),
    ('function', 'expire_leases(text, timestamptz, timestamptz, text)', 'runner'),
    ('function', 'extend_lease(text, bigint, timestamptz)', 'runner'),
    ('function', 'fail_record(text, bigint, text, boolean, timestamptz)', 'runner'),
    ('function', 'is_day_sealed(text, date)', 'reader'),
    ('function', 'new_windows(text, timestamptz, integer)', 'reader'),
    ('function', 'observe_record(text, timestamptz, text, bigint, jsonb, bigint)', 'runner'),
    ('function', 'oldest_pending_record(text)', 'reader'),
    ('function', 'pass_valid_record(text, text)', 'runner'),
    ('function', 'pass_valid_records(jsonb, text, integer, jsonb)', 'runner'),
    ('function', 'pause_pipeline(text, text)', 'runner'),
    ('function', 'pipeline_time(text, text)', 'reader'),
    ('function', 'plan_runs(text, integer, timestamptz, integer, interval)', 'reader'),
    ('function', 'range_effects(text, text, timestamptz, timestamptz)', 'reader'),
    ('procedure', 'range_in_steps(text, text, timestamptz, timestamptz, text, bigint)', 'runner'),
    ('function', 'range_step(text, text, timestamptz, timestamptz, text, integer)', 'runner'),
    ('function', 'records_as_of(timestamptz)', 'reader'),
    ('function', 'recount_due(text)', 'reader'),
    ('function', 'register_pipeline(jsonb)', 'runner'),
    ('function', 'release_record(text, bigint, timestamptz, timestamptz)', 'runner'),
    ('function', 'reopen_changed_records(text)', 'runner'),
    ('function', 'reopen_records(text, timestamptz, timestamptz, text)', 'runner'),
    ('function', 'resume_pipeline(text, text)', 'runner'),
    ('function', 'retire_pipeline(text, text)', 'runner'),
    ('function', 'set_pipeline_owner(text, text)', 'runner'),
    ('function', 'store_new_and_pass_valid_record(jsonb, text, jsonb)', 'runner'),
    ('procedure', 'store_new_records(text, jsonb, integer)', 'runner'),
    ('function', 'suggest_x_time_back(text, numeric)', 'reader'),
    ('function', 'waive_counts(text, timestamptz, text)', 'runner'),
    ('function', 'waive_records(text, timestamptz, timestamptz, text)', 'runner'),
    ('function', 'window_time(text, text)', 'reader'),
    ('view', 'archived_record_events', 'reader'),
    ('view', 'archived_record_observations', 'reader'),
    ('view', 'archived_records', 'reader'),
    ('view', 'changed_records', 'reader'),
    ('view', 'daily_coverage', 'reader'),
    ('view', 'oldest_valid_record', 'reader'),
    ('view', 'pipeline_events', 'reader'),
    ('view', 'pipeline_lateness', 'reader'),
    ('view', 'pipeline_progress', 'reader'),
    ('view', 'pipeline_records', 'reader'),
    ('view', 'pipelines', 'reader'),
    ('view', 'record_events', 'reader'),
    ('view', 'record_observations', 'reader'),
    ('view', 'record_verdicts', 'reader'),
    ('view', 'records_at_risk', 'reader')
$$;
comment on function record_ledger.public_objects() is
'Private. The objects that callers may use: kind, name with the types of its arguments, and the role that may use it.';
-- record_ledger grants: who may do what; applied on every deploy.
-- record_ledger_reader reads the public views and asks the rules; record_ledger_runner also runs the routines.
-- Applied by: every deploy. Only the owner has rights on the tables.
-- Rules: public_objects() is the list; every function that a view calls must be executable by the view's readers.
do $$
declare
    v_right record;
    v_others text[] := '{}';
begin
    -- An administrator or the owner's default privileges may have granted rights to write past the routines, or to
    -- create a trigger on a table, which runs as the owner. A backup's right to read stays.
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
            'rights to change the ledger''s tables are revoked from %: grant record_ledger_runner.',
            (select string_agg(distinct o, ', ') from unnest(v_others) as o);
    end if;
end
$$;

do $$
declare
    v_role text;
    v_object record;
    v_rule text;
begin
    -- Rights that earlier releases granted and this one does not must go.
    revoke all on all tables in schema record_ledger from public;
    revoke all on all sequences in schema record_ledger from public;
    revoke all on all routines in schema record_ledger from public;
    foreach v_role in array array['record_ledger_reader', 'record_ledger_runner'] loop
        -- roles.sql has warned of it.
        continue when to_regrole(v_role) is null;
        execute format('revoke all on all tables in schema record_ledger from %I', v_role);
        execute format('revoke all on all routines in schema record_ledger from %I', v_role);
        execute format('grant usage on schema record_ledger to %I', v_role);
        for v_object in
            select
                case q.kind when 'view' then 'select' else 'execute' end as right_name,
                case q.kind when 'view' then 'table' else 'routine' end as kind,
                q.object
            from record_ledger.public_objects() as q
            where v_role in ('record_ledger_runner', 'record_ledger_' || q.role)
        loop
            execute format(
                'grant %s on %s record_ledger.%s to %I',
                v_object.right_name, v_object.kind, v_object.object, v_role
            );
        end loop;
        -- The rules that views call run with the rights of the view's reader. The others are harmless to call.
        foreach v_rule in array array[
            'attempt_ending(text, jsonb)',
            'clock()',
            'config_keys()',
            'config_problems(jsonb, boolean, boolean)',
            'count_tolerance(text, bigint)',
            'day_coverage(record_ledger.pipeline, date)',
            'day_start(date, text)',
            'days_with_windows(record_ledger.pipeline)',
            'duration(text)',
            'edit_distance(text, text)',
            'first_window_start(record_ledger.pipeline, timestamptz)',
            'half_of_time_left(timestamptz, record_ledger.pipeline, timestamptz)',
            'instant(text)',
            'is_at_risk(timestamptz, record_ledger.pipeline, timestamptz)',
            'is_ledger_owner(name)',
            'is_lost(timestamptz, interval, timestamptz)',
            'is_stable(timestamptz, interval, timestamptz)',
            'is_stage(text)',
            'iso_time(timestamptz)',
            'json_problem(jsonb, integer)',
            'known_config(jsonb)',
            'lateness(record_ledger.pipeline)',
            'ledger_columns()',
            'local_day(timestamptz, text)',
            'local_instant(timestamp, text)',
            'local_instants(timestamp, text)',
            'local_time(timestamptz, text)',
            'missing_fields(jsonb, text[])',
            'near_names(text, text[])',
            'is_within_day(timestamptz, timestamp, interval, text)',
            'next_window(timestamptz, interval, text)',
            'open_counts_problem(text, timestamptz)',
            'open_windows(record_ledger.pipeline, timestamptz)',
            'pipeline_answer(record_ledger.pipeline, timestamptz)',
            'public_objects()',
            'record_verdict(record_ledger.record, record_ledger.pipeline, timestamptz, '
            'bigint, timestamptz)',
            'recount_problems(jsonb)',
            'required_counts_problems(jsonb)',
            'retention_problems(jsonb)',
            'retry_time(timestamptz, integer, timestamptz, record_ledger.pipeline)',
            'sees_tokens()',
            'shortened(text, integer)',
            'start_instant(text, text)',
            'stretch_timezone(text, timestamptz)',
            'time_interval(timestamptz, timestamptz)',
            'twofold_time(text, text)',
            'unstable_reason(timestamptz, timestamptz, interval, text)',
            'wall_time(text)',
            'window_timezone(record_ledger.pipeline, timestamptz)'
        ] loop
            execute format('grant execute on function record_ledger.%s to %I', v_rule, v_role);
        end loop;
    end loop;
end
$$;
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
select record_ledger.end_deploy('0.5.0');
-- record_ledger strangers: who owns the schema, and what in it or on it belongs to a role that the user cannot trust.
-- It is one statement, which reads only the catalogue and calls nothing of the schema. Its answer is JSON in the
-- setting record_ledger.strangers until the transaction ends. Run it with search_path = pg_catalog, pg_temp.
-- Read by: every deploy before it touches the schema, and again as its last step; `record-ledger doctor`.
-- Rules: trusted are superusers, the schema's owner (who is judged apart) and the user. An ordinary user trusts the
-- roles it is a member of as well. A superuser is a member of every role: it trusts superusers, and a ledger that
-- belongs to the database's owner. A membership counts when a superuser, the user, or a role that may act as the user
-- granted it. A grant by another role does not count: a stranger who administers a role could make every user a member
-- of it.
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

        -- Roles whose objects the user trusts like its own.
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

        -- Roles that may have objects in a schema whose owner is trusted: the deploy gives it what superusers left
        -- there.
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

        -- Everything that a role can own in a schema, except what follows its table: indexes and row types.
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
            -- Every deploy replaces views, checks and routines before anything uses them.
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
            -- Such a role could add a function during the deploy that matches a call better than the ledger's own.
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
                -- For doctor: a user who only works with the ledger accepts its owner.
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
commit;
{%- endraw %}
{%- endmacro %}

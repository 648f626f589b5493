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

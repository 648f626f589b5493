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

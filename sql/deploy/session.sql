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

-- A stand-in for pgmq, which is an extension that the embedded server does not have: a queue table and an
-- archive table as its documentation describes them, with the three calls of one message's life.
-- Its statements are static and their plans kept, where pgmq puts its own together as text in every call: if anything,
-- this is faster.
create schema pgmq_style;

create table pgmq_style.q (
    msg_id bigint generated always as identity primary key,
    read_ct integer not null default 0,
    enqueued_at timestamptz not null default now(),
    vt timestamptz not null,
    message jsonb
);
create index on pgmq_style.q (vt);

create table pgmq_style.a (
    msg_id bigint primary key,
    read_ct integer not null,
    enqueued_at timestamptz not null,
    archived_at timestamptz not null default now(),
    vt timestamptz not null,
    message jsonb
);
create index on pgmq_style.a (archived_at);

create function pgmq_style.send(msg jsonb)
returns bigint
language plpgsql
as $$
declare
    v_id bigint;
begin
    insert into pgmq_style.q (vt, message) values (clock_timestamp(), msg)
    returning msg_id into v_id;
    return v_id;
end
$$;

create function pgmq_style.read(seconds integer, qty integer)
returns setof pgmq_style.q
language plpgsql
as $$
begin
    return query
    with visible as (
        select msg_id
        from pgmq_style.q
        where vt <= clock_timestamp()
        order by msg_id
        limit qty
        for update skip locked
    )
    update pgmq_style.q as m
    set vt = clock_timestamp() + make_interval(secs => seconds), read_ct = m.read_ct + 1
    from visible
    where m.msg_id = visible.msg_id
    returning m.*;
end
$$;

create function pgmq_style.archive(id bigint)
returns boolean
language plpgsql
as $$
begin
    with moved as (
        delete from pgmq_style.q where msg_id = id
        returning *
    )
    insert into pgmq_style.a (msg_id, read_ct, enqueued_at, vt, message)
    select msg_id, read_ct, enqueued_at, vt, message from moved;
    return found;
end
$$;

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

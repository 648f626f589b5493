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

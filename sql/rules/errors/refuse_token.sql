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

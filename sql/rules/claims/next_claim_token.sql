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

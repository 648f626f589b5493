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

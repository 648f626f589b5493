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

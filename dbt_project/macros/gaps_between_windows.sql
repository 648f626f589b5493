{#
  The query of gaps: time between two windows of a pipeline that no window covers, one row per gap.
  `windows` is a relation with pipeline_id, window_start_time and window_end_time.
#}
{% macro gaps_between_windows(windows) %}
select
    covered.pipeline_id,
    covered.covered_until as gap_start_time,
    covered.window_start_time as gap_end_time,
    covered.window_start_time - covered.covered_until as gap_length
from (
    select
        windows.pipeline_id,
        windows.window_start_time,
        -- The latest end of all earlier windows. After an overlap it may not be the last one's.
        pg_catalog.max(windows.window_end_time) over (
            partition by windows.pipeline_id
            order by windows.window_start_time
            rows between unbounded preceding and 1 preceding
        ) as covered_until
    from (select * from {{ windows }}) as windows
) as covered
where covered.window_start_time > covered.covered_until
{% endmacro %}

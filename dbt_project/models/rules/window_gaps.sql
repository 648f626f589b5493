-- window_gaps: time between two windows of a pipeline that no window covers.
-- One row per gap. A window must start where the ones before it end.
{{ record_ledger.refuse_ledger_schema() }}
{{ record_ledger.gaps_between_windows(source('record_ledger', 'pipeline_records')) }}

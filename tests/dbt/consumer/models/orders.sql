{{ config(materialized='incremental', unique_key='order_id') }}

select order_id, ordered_at, amount
from {{ source('raw', 'orders') }}
where ordered_at >= {{ record_ledger.window_start() }} and ordered_at < {{ record_ledger.window_end() }}

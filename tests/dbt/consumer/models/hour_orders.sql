{{ config(
    materialized='incremental',
    incremental_strategy='microbatch',
    event_time='ordered_at',
    batch_size='hour',
    begin='2026-01-01',
    unique_key='order_id',
    tags=['microbatch']
) }}

select order_id, ordered_at, 100 / amount as share
from {{ source('raw', 'orders') }}

{#- Knows nothing of windows. -#}
select count(*) as order_count from {{ ref('order_shares') }}

"""DAGs to copy from; each runs as it stands with an Airflow connection `record_ledger_default`."""

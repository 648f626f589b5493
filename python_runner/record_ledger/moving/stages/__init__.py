"""Earlier names of what is in `record_ledger.moving.connectors`."""

"""What the commands of `record-ledger` do, one module per kind; `cli` parses and reports."""

"""What the commands of `record-ledger` do: a module for each of `grammar`, under the same names."""

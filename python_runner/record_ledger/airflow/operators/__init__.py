"""The operators: those that pass records, those that end claims, and one for the shell."""

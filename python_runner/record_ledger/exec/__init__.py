"""Runs a command on each record that is passed, and ends its claim by how the command ended."""

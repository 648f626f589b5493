"""Snowflake, as a target."""

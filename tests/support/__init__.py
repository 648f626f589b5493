"""Helpers of all tests: servers, databases, a clock, two sessions step by step, documents."""

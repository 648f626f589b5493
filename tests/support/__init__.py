"""What the tests stand on: servers, databases, a clock, two sessions step by step, documents."""

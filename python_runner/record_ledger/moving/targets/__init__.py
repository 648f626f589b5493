"""Where windows are published."""

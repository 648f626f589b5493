"""Where windows are read from."""

"""Where windows lie between their source and their target."""

"""Configuration of callgate: its schema, its strict loader, and the files themselves."""

"""Settings of a run: recipes and policies, read from YAML."""

"""What a run is: recipes and policies, read from YAML."""

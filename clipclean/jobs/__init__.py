"""What a command does, each from paths and options to a result."""

"""The jobs: what each command does, from paths and options to a result."""

"""What the commands return and write, as frozen values: their types, their validation and the JSON Schema of a report."""

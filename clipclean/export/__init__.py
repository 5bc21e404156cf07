"""Export: weights in formats that other libraries load, read back before they count, with provenance."""

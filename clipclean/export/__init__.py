"""Weights out: formats that other libraries load, read back before they count, with their provenance."""

"""Choosing a recipe: test backdoors, candidates, and the one that removes most."""

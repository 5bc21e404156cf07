"""Known triggers, and batches that bear them."""

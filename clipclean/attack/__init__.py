"""Known triggers, and training batches that carry them."""

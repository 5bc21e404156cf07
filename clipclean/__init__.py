"""Audit and clean CLIP checkpoints that somebody else trained, without ever executing them."""

__version__ = "0.1.0"

"""Frozen layers run once: where they end, what stands in for them, what of their output is kept."""

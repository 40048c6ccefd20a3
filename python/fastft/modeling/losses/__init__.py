"""The loss: cross entropy that keeps no logits, and the heads that let a model use it."""

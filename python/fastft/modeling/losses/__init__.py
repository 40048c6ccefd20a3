"""Losses: softmax cross entropy of logits, and of a linear layer whose logits are never kept."""

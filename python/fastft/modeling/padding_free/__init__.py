"""Padding-free models: the layers see the real tokens of a batch, everything else is as it was."""

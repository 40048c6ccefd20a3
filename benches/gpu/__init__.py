"""Benchmarks of a GPU: `python -m benches.gpu`, see README.md beside this file."""

"""The rows, a file a kind of work; `registry.py` names the files."""

"""Tasks: which columns, which Auto class, how labels are read, which metric."""

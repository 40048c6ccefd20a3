"""Models: loading them for a task, showing their structure, choosing what is trained."""

"""The training tasks, a module for each."""

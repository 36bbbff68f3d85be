"""Systems under examination, Tacit first, each through its own public functions."""

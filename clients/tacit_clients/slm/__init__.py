"""The small language model: load it, adapt it, ask it."""

"""Clip, sum, noise: an object that executes a mechanism is the object that states its event."""

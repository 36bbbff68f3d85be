"""Emulated fleets: device catalogue, populations, availability, battery, network, and what becomes of a task."""

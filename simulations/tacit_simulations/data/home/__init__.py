"""Generated households and what they say to their assistant; every person, place and number known by construction."""

from tacit_simulations.data.home.source import HomeSource

__all__ = ["HomeSource"]

"""A device that lives in a fleet: how it enrols, what it keeps, when it learns, which adapter it answers with."""

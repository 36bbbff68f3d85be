"""The ground floor's own sub-commands."""

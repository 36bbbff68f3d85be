"""From many updates to one sum."""

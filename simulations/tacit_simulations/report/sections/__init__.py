"""The chapters of the report, one module each. A chapter with nothing to say is None and left out."""

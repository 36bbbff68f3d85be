"""The report: result.json as one self-contained HTML file that a person wants to read."""

from tacit_simulations.report.page import report

__all__ = ["report"]

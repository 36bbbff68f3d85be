"""The report on a comparison of modes: result.json of ``tacit bench modes`` as one self-contained HTML file."""

from tacit_simulations.report.comparison.page import comparison_report

__all__ = ["comparison_report"]

"""The ground floor: contract, mechanisms, accounting, ledger. No torch, no Flower, no web; imports nothing of ours."""

__version__ = "0.1.0"

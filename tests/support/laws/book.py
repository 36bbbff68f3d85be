"""All laws, and the systems they are put to."""

import importlib

from laws import accounting, ledger, mechanism
from laws.subject import Law, Subject

LAWS: tuple[Law, ...] = (*mechanism.LAWS, *accounting.LAWS, *ledger.LAWS)
SUBJECTS = {
    "Tacit": "peers.tacit:Tacit",
    "Flower": "peers.flower:Flower",
    "Opacus": "peers.opacus:Opacus",
    "dp-accounting": "peers.google:DpAccounting",
}


def subject_at(where: str) -> Subject:
    """The subject that ``module:Class`` names. Raises ImportError where it, or what it examines, is not installed."""
    module, _, name = where.partition(":")
    found = getattr(importlib.import_module(module), name)()
    if not isinstance(found, Subject):
        raise TypeError(f"{where} is no laws.subject.Subject")
    return found


def law(name: str) -> Law:
    return next(law for law in LAWS if law.name == name)

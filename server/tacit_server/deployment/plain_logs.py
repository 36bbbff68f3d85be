"""What Flower and uvicorn say, in the form of everything else: one JSON object to a line, unless a person watches."""

import json
import logging
import sys
from datetime import UTC, datetime

_LOGGERS = ("flwr", "uvicorn")


class JsonLines(logging.Formatter):
    """``process`` is in every line, as in those of ``tacit_privacy.logs``. An exception shows its kind and its road."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            told["kind"] = record.exc_info[0].__name__
            told["road"] = self.formatException(record.exc_info)
        return json.dumps(told, sort_keys=True)


def adopt(process: str) -> None:
    """In place of handlers that Flower and uvicorn made. Who called what is counted in metrics, not said a line each:
    devices call all the time, and refusals are logged where they are made.
    """
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    if sys.stderr.isatty():
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.INFO)
    handler.setFormatter(JsonLines(process))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    error = logging.getLogger("uvicorn.error")
    error.handlers, error.propagate = [], True
    error.setLevel(logging.INFO)
    error.addFilter(lambda record: record.args != (0,))  # of no request that was cut off it says so as an error

"""What Flower and uvicorn say is a JSON object a line, like everything else that a server says."""

import json
import logging
import sys

from tacit_server.deployment.plain_logs import JsonLines


def record(message: str, *values: object, error: bool = False) -> logging.LogRecord:
    info = sys.exc_info() if error else None
    return logging.LogRecord("flwr", logging.WARNING, "file.py", 1, message, values, info)


def test_a_line_is_an_object_whatever_is_said() -> None:
    said = JsonLines("link").format(record('two\nlines and "quotes" of %s', "a node"))
    assert "\n" not in said
    told = json.loads(said)
    assert told["event"] == 'two\nlines and "quotes" of a node'
    assert (told["level"], told["logger"], told["process"]) == ("warning", "flwr", "link")


def test_an_exception_is_told_by_kind_and_road() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        told = json.loads(JsonLines("link").format(record("failed", error=True)))
    assert told["kind"] == "ValueError" and "test_server_logs.py" in told["road"]

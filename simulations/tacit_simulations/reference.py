"""References written from the code: ``python -m tacit_simulations.reference scenarios``, or ``settings``."""

import sys
import tomllib
from collections.abc import Iterator
from enum import Enum

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tacit_clients.device.settings import DeviceSettings
from tacit_server.deployment.settings import DeploymentSettings
from tacit_simulations.scenario import Scenario, named_scenarios


def scenarios_page() -> str:
    """Markdown of ``docs/scenarios.md``."""
    return "\n".join([*_head("Scenarios", "scenarios"), *_scenarios(), *_scenario_settings()]) + "\n"


def settings_page() -> str:
    """Markdown of ``docs/settings.md``."""
    return "\n".join([*_head("Settings of a deployment", "settings"), *_server_settings(), *_device_settings()]) + "\n"


def _head(title: str, page: str) -> Iterator[str]:
    yield f"# {title}"
    yield ""
    yield f"Written by `python -m tacit_simulations.reference {page}`; a test keeps it current."
    yield ""


def _scenarios() -> Iterator[str]:
    yield "## Shipped"
    yield ""
    yield "| name | what it simulates | starts from |"
    yield "|---|---|---|"
    for name, text in named_scenarios().items():
        table = tomllib.loads(text)
        yield f"| `{name}` | {table['description']} | {table.get('extends', '')} |"
    yield ""


def _scenario_settings() -> Iterator[str]:
    yield "## Settings"
    yield ""
    yield "Set a key in a file or by `--set key=value`; unknown keys are refused. `runtime` changes speed alone."
    yield ""
    yield from _table(Scenario)


def _server_settings() -> Iterator[str]:
    yield "## server.toml"
    yield ""
    yield "In the server's directory; `tacit server init` writes it. The part of a key before its first point is its"
    yield "table: `listen.port` is `port` below `[listen]`. Unknown keys are refused. `tacit server up` reads it."
    yield "`tacit server run schedule --set key=value` gives one run other values, within what the server promises. A"
    yield "password of a database stands nowhere in it: the whole URL goes into the environment, `TACIT_DATABASE`."
    yield ""
    yield "With the first run these stand for good, since the ledger promises them: `fleet.devices`, and of `privacy`"
    yield "`epsilon`, `delta`, `participations`, `separation`, `period_s`, `adjacency`, `roster`. Other names in"
    yield "`listen.names` need a new certificate: `tacit server rotate certificate`."
    yield ""
    yield from _table(DeploymentSettings)
    yield ""


def _device_settings() -> Iterator[str]:
    yield "## device.toml"
    yield ""
    yield "In the device's directory; `tacit device enroll` writes it. The next `tacit device run` reads it. A server"
    yield "can change none of it, and sees none of it but the name."
    yield ""
    yield from _table(DeviceSettings)


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    yield from _rows(model, "")


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = prefix + name
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _rows(kind, key + ".")
            continue
        value = field.default.value if isinstance(field.default, Enum) else field.default
        default = "" if value is PydanticUndefined else repr(value)
        default = default if len(default) < 60 else "see the source"
        meaning = (field.description or "").replace("|", "\\|")
        yield f"| `{key}` | `{default}` | {meaning} |".replace("``", "")


if __name__ == "__main__":
    print({"scenarios": scenarios_page, "settings": settings_page}[sys.argv[1]](), end="")

"""The state of a FleetGrid as bytes: NumPy's archive and JSON, so that reading it back can run nobody's code."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, Metadata, MetricRecord, RecordDict
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class GridState:
    """What ``pack`` was given."""

    sent: int
    pending: list[tuple[float, Message]]
    states: dict[int, RecordDict]
    emulator: Arrays


def pack(
    sent: int,
    pending: Sequence[tuple[float, Message]],
    states: Mapping[int, RecordDict],
    emulator: Mapping[str, NDArray[Any]],
) -> bytes:
    """One compressed archive; arrays beside one JSON text that says where each belongs."""
    arrays: Arrays = {f"emulator/{name}": value for name, value in emulator.items()}
    head = {
        "sent": sent,
        "pending": [_pack_message(at, message, f"pending/{i}", arrays) for i, (at, message) in enumerate(pending)],
        "states": {str(device): _pack_records(state, f"state/{device}", arrays) for device, state in states.items()},
    }
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack(data: bytes) -> GridState:
    """The inverse of ``pack``. Refuses pickled content."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays: Arrays = dict(archive)
    head = json.loads(arrays["head"].tobytes())
    return GridState(
        sent=head["sent"],
        pending=[_unpack_message(row, arrays) for row in head["pending"]],
        states={int(device): _unpack_records(rows, arrays) for device, rows in head["states"].items()},
        emulator={name.removeprefix("emulator/"): a for name, a in arrays.items() if name.startswith("emulator/")},
    )


def _pack_message(at: float, message: Message, prefix: str, arrays: Arrays) -> dict[str, Any]:
    fields = {key: value for key, value in message.metadata.__dict__.items() if key != "_delivered_at"}
    row: dict[str, Any] = {"at": at, "metadata": fields}
    if message.has_error():
        row["error"] = [message.error.code, message.error.reason]
    else:
        row["content"] = _pack_records(message.content, prefix, arrays)
    return row


def _unpack_message(row: dict[str, Any], arrays: Arrays) -> tuple[float, Message]:
    metadata = Metadata(**{key.removeprefix("_"): value for key, value in row["metadata"].items()})
    if "error" in row:
        return row["at"], Message(metadata=metadata, error=Error(*row["error"]))  # type: ignore[call-overload]
    content = _unpack_records(row["content"], arrays)
    return row["at"], Message(metadata=metadata, content=content)  # type: ignore[call-overload]


def _pack_records(records: RecordDict, prefix: str, arrays: Arrays) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, record in records.items():
        if isinstance(record, ArrayRecord):
            keys = list(record.keys())
            for i, key in enumerate(keys):
                arrays[f"{prefix}/{name}/{i}"] = record[key].numpy()
            rows.append({"name": name, "arrays": keys, "at": f"{prefix}/{name}"})
        else:
            values = {key: _plain(value) for key, value in record.items()}
            rows.append({"name": name, "metric": isinstance(record, MetricRecord), "values": values})
    return rows


def _unpack_records(rows: Sequence[dict[str, Any]], arrays: Arrays) -> RecordDict:
    records = RecordDict()
    for row in rows:
        if "arrays" in row:
            found = {key: Array(arrays[f"{row['at']}/{i}"]) for i, key in enumerate(row["arrays"])}
            records[row["name"]] = ArrayRecord(found)
        else:
            values = {key: _rich(value) for key, value in row["values"].items()}
            records[row["name"]] = MetricRecord(values) if row["metric"] else ConfigRecord(values)
    return records


def _plain(value: Any) -> Any:
    return {"bytes": value.hex()} if isinstance(value, bytes) else value


def _rich(value: Any) -> Any:
    return bytes.fromhex(value["bytes"]) if isinstance(value, dict) else value

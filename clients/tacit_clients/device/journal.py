"""What a device must not lose, sealed: its keys, its own memory, the message it works on, the reply it owes.

The store is a vault of its own. A record is written whole or not at all, and the newest of its kind counts, so a kill
at any moment leaves the state before a step or the state after it: what a device remembers of a round and the update
that it made in it are one record. What the update consists of lies in a file beside it, which that record opens; what
a message consists of stays at the server until it is answered.
"""

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from tacit_clients.device import sealed
from tacit_clients.device.adapter_state import AdapterState
from tacit_clients.device.outbox import Kept, Outbox
from tacit_clients.device.personal import PersonalRecord
from tacit_clients.flower_seam import NodeKey, Parcel
from tacit_privacy.enrolment import Placement
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.pii.vault.opening import open_vault
from tacit_privacy.pii.vault.store import Vault

_log = structlog.get_logger("tacit.device")


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a device stands: what it remembers, what it was asked and has not answered, what it owes.

    A message that was kept and is read again is bare: what it consists of has to be asked for. ``begun``: how many
    processes began to answer and ended before they had.
    """

    state: RecordDict
    asked: Parcel | None = None
    owed: Parcel | None = None
    begun: int = 0


class Journal:
    """Opened by ``Journal.open``; a context manager. Raises BadInput or VaultLocked."""

    def __init__(self, vault: Vault, outbox: Outbox) -> None:
        self._vault, self._outbox = vault, outbox

    @classmethod
    def open(cls, path: Path, outbox: Path, key: str = "", *, create: bool = False) -> "Journal":
        """``path``: the store; ``outbox``: the folder of what is owed."""
        return cls(open_vault(path, key, create=create), Outbox(outbox))

    def keys(self) -> tuple[SigningKey, NodeKey] | None:
        """The key that the device is known by, and its node's; None before there are any."""
        found = self._newest(sealed.KEYS)
        if found is None:
            return None
        told = json.loads(found)
        return SigningKey.of_bytes(bytes.fromhex(told["signing"])), NodeKey.from_bytes(told["node"].encode())

    def make_keys(self) -> tuple[SigningKey, NodeKey]:
        """New keys; they are of use once an enrolment goes through."""
        signing, node = SigningKey.generate(), NodeKey.generate()
        told = {"signing": signing.to_bytes().hex(), "node": node.to_bytes().decode()}
        self._vault.replace(sealed.KEYS, json.dumps(told).encode())
        return signing, node

    def placement(self) -> Placement | None:
        """What the server said when it let the device in; None before."""
        found = self._newest(sealed.PLACE)
        return None if found is None else Placement.from_bytes(found)

    def place(self, placement: Placement) -> None:
        self._vault.replace(sealed.PLACE, placement.to_bytes())

    def code(self) -> str:
        """Digest of the code that the owner trusted last; empty before."""
        found = self._newest(sealed.CODE)
        return "" if found is None else found.decode()

    def trust(self, code: str) -> None:
        self._vault.replace(sealed.CODE, code.encode())

    def turn(self) -> Turn:
        """Where the device stands. An update whose file is gone or was changed is owed no more, and its round is one
        that the device took part in.
        """
        found = self._newest(sealed.TURN)
        if found is None:
            return Turn(RecordDict())
        turn, kept = _unpacked(found)
        if kept is None:
            return turn
        try:
            return replace(turn, owed=Parcel.unpack(self._outbox.get(kept)))
        except BadInput as error:
            _log.error("an update is lost", why=str(error))
            return turn

    def keep(self, turn: Turn) -> None:
        """Replace what ``turn`` finds, at once and as a whole. Raises BadInput.

        That a message came survives a kill, but no power cut: nobody counts on its answer yet.
        """
        kept = None if turn.owed is None else self._outbox.put(turn.owed.pack())
        self._vault.replace(sealed.TURN, _packed(turn, kept), synced=turn.asked is None)
        self._outbox.tidy(kept)

    def adapter(self) -> AdapterState:
        """What is known of the shared adapters."""
        found = self._newest(sealed.ADAPTER)
        return AdapterState() if found is None else AdapterState.from_bytes(found)

    def note_adapter(self, state: AdapterState) -> None:
        self._vault.replace(sealed.ADAPTER, state.to_bytes())

    def personal(self) -> PersonalRecord | None:
        """Which personal adapter the device answers with, for the gateway beside it; None before it was judged."""
        found = self._newest(sealed.PERSONAL)
        return None if found is None else PersonalRecord.from_bytes(found)

    def keep_personal(self, record: PersonalRecord) -> None:
        self._vault.replace(sealed.PERSONAL, record.to_bytes())

    def forget_personal(self) -> None:
        self._vault.erase_rows(sealed.PERSONAL)

    def erase(self) -> None:
        """Forget everything: keys, memory, personal adapter."""
        self._vault.erase_all()
        self._outbox.tidy()

    def close(self) -> None:
        self._vault.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _newest(self, kind: str) -> bytes | None:
        return sealed.newest(self._vault, kind)


def _packed(turn: Turn, kept: Kept | None) -> bytes:
    """Config records as JSON with bytes in hexadecimal, arrays as they are."""
    configs: dict[str, dict[str, Any]] = {}
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    names: dict[str, int] = {}
    for name, record in turn.state.items():
        if isinstance(record, ConfigRecord):
            configs[name] = {key: {"hex": v.hex()} if isinstance(v, bytes) else v for key, v in record.items()}
        elif isinstance(record, ArrayRecord):
            found = record.to_numpy_ndarrays()
            names[name] = len(found)
            arrays |= {f"array/{name}/{n}": array for n, array in enumerate(found)}
        else:
            raise BadInput(f"a device's state holds {type(record).__name__}, which no device keeps")
    head = {
        "configs": configs,
        "arrays": names,
        "begun": turn.begun,
        "asked": turn.asked and turn.asked.bare().pack().hex(),
        "owed": kept and [kept.name, kept.key.hex()],
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, head=np.frombuffer(json.dumps(head).encode(), dtype=np.uint8), **arrays)
    return buffer.getvalue()


def _unpacked(data: bytes) -> tuple[Turn, Kept | None]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        head = json.loads(archive["head"].tobytes())
        state = RecordDict()
        for name, values in head["configs"].items():
            told = {key: bytes.fromhex(v["hex"]) if isinstance(v, dict) else v for key, v in values.items()}
            state[name] = ConfigRecord(told)
        for name, count in head["arrays"].items():
            state[name] = ArrayRecord([archive[f"array/{name}/{n}"] for n in range(count)])
    asked = Parcel.unpack(bytes.fromhex(head["asked"])) if head["asked"] else None
    kept = Kept(head["owed"][0], bytes.fromhex(head["owed"][1])) if head["owed"] else None
    return Turn(state, asked=asked, begun=head["begun"]), kept

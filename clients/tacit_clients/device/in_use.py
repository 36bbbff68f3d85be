"""The adapters that a device has in use, for another process of the device: read whole, checked, in memory alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tacit_clients.device import sealed
from tacit_clients.device.folders import AdapterFolders
from tacit_clients.device.home import DeviceHome
from tacit_clients.device.personal import PersonalRecord
from tacit_clients.slm.places import HeldAdapter
from tacit_privacy.enrolment import Placement
from tacit_privacy.errors import BadInput
from tacit_privacy.pii.vault.opening import open_vault
from tacit_privacy.pii.vault.store import Vault


@dataclass(frozen=True, slots=True)
class InUse:
    """What the device answers with. Two are equal where they hold the very same adapters."""

    digest: str = ""  # of the shared adapter; empty: the model without one
    shared: HeldAdapter | None = None
    personal: HeldAdapter | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An adapter that cannot be read now, and the class of the error."""

    which: str  # shared or personal
    kind: str


class DeviceAdapters:
    """Opened by ``open``; a context manager. For one thread at a time."""

    def __init__(self, home: DeviceHome, key: str) -> None:
        self._home, self._key = home, key
        self._folders = AdapterFolders(home)
        self._digest = ""
        self._shared: HeldAdapter | None = None
        self._number = 0  # of the record that was read last
        self._record: PersonalRecord | None = None
        self._vault: Vault | None = None
        self._file: tuple[int, int] | None = None  # which file the open store is

    @classmethod
    def open(cls, path: Path, key: str) -> Self:
        """Raises BadInput where ``path`` holds no device, VaultLocked where ``key`` does not open its store."""
        found = cls(DeviceHome.open(path), key)
        found._store()
        return found

    def model(self) -> str:
        """The model that the device learns with; empty before it was let into a fleet."""
        vault = self._store()
        row = None if vault is None else sealed.newest(vault, sealed.PLACE)
        return "" if row is None else Placement.from_bytes(row).model

    def look(self) -> tuple[InUse, tuple[Unreadable, ...]]:
        """What is in use now. Cheap while nothing changes; what cannot be read leaves what was read before."""
        problems = []
        for which, read in (("shared", self._read_shared), ("personal", self._read_personal)):
            try:
                read()
            except (BadInput, OSError) as error:
                problems.append(Unreadable(which, type(error).__name__))
        personal = None
        if self._record is not None and self._record.shared == self._digest:  # else it was judged over another one
            personal = self._record.adapter
        return InUse(self._digest, self._shared, personal), tuple(problems)

    def close(self) -> None:
        if self._vault is not None:
            self._vault.close()
            self._vault = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _read_shared(self) -> None:
        linked = self._folders.linked()
        if linked != self._digest:
            self._shared = self._folders.read(linked) if linked else None
            self._digest = linked

    def _read_personal(self) -> None:
        vault = self._store()
        number = 0 if vault is None else sealed.newest_number(vault, sealed.PERSONAL)
        if number != self._number:
            row = None if vault is None else sealed.newest(vault, sealed.PERSONAL)
            self._record = None if row is None else PersonalRecord.from_bytes(row)
            self._number = number

    def _store(self) -> Vault | None:
        """The device's store; opened again where it is another file by now, None where a device left and erased it."""
        path = self._home.store
        try:
            found = path.stat()
        except FileNotFoundError:
            file = None
        else:
            file = found.st_dev, found.st_ino
        if file != self._file:
            self.close()
            # the adapter of a store that is gone goes with it, even where the new one cannot be opened
            self._number, self._record, self._file = -1, None, file
            self._vault = None if file is None else open_vault(path, self._key, create=False)
        return self._vault

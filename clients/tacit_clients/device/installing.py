"""A new shared adapter, taken into use: downloaded where it was cut off, checked, scored, and put in place at once.

It is scored on the device's own held-out examples. One that does worse than the one in use is not taken, and the
device stays with what it has. The journal says which one is in use, and is written before the link turns: after a kill
in between, ``settle`` turns it.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import ValidationError

from tacit_clients.device.adapter_state import AdapterState, Kept, worse
from tacit_clients.device.folders import AdapterFolders, Vector, writing
from tacit_clients.device.home import DeviceHome
from tacit_clients.device.journal import Journal
from tacit_privacy.contract import AdapterSpec, digest
from tacit_privacy.enrolment import AdapterManifest
from tacit_privacy.errors import BadInput

Outcome = Literal["installed", "known", "worse", "older", "changed"]


@dataclass(frozen=True)
class Installer:
    """``score`` gives an adapter's loss on the held-out examples, None where there are none to score it by."""

    home: DeviceHome
    journal: Journal
    spec: AdapterSpec
    score: Callable[[Vector], float | None]
    worse_by: float

    def consider(self, manifest: AdapterManifest, fetch: Callable[[str, int, int], bytes]) -> Outcome:
        """Take an adapter into use, or not; ``changed``: its owner went back meanwhile, so that it is for another time.

        Raises BadInput on one that is not what its server signed, or where there is no room for it.
        """
        settle(self.home, self.journal)
        known = self.journal.adapter()
        if manifest.vector in (known.in_use.vector, *known.refused):
            return "known"
        if manifest.entries < known.entries:
            return "older"  # of a server that was put back in time
        self._check_shape(manifest)
        vector = self._download(manifest, fetch)
        finite = bool(np.isfinite(vector).all())
        before, after = self._score_in_use(known), self.score(vector) if finite else math.nan
        with self.home.turning():
            if self.journal.adapter() != known:
                return "changed"
            seen = known.model_copy(update={"entries": max(known.entries, manifest.entries)})
            if not finite or worse(before, after, self.worse_by):
                self._refuse(seen, manifest.vector)
            else:
                self._put(seen, manifest, vector, after)
                return "installed"
        if not finite:
            raise BadInput("the server's adapter holds NaN or infinity; nothing was installed")
        return "worse"

    def _check_shape(self, manifest: AdapterManifest) -> None:
        """Before a byte is fetched."""
        try:
            spec = AdapterSpec.from_bytes(manifest.spec.encode())
        except ValidationError as error:
            raise BadInput("the shape of the server's adapter cannot be read; nothing was installed") from error
        if spec != self.spec or manifest.size != 4 * self.spec.dimension:
            raise BadInput(
                "the server's adapter has another shape than the device's model takes; nothing was installed"
            )

    def _score_in_use(self, known: AdapterState) -> float | None:
        """Of the adapter in use on the examples of today; zeros change nothing: the model without one."""
        if not known.in_use.vector:
            return self.score(np.zeros(self.spec.dimension, dtype=np.float32))
        return self.score(AdapterFolders(self.home).read(known.in_use.vector).vector)

    def _download(self, manifest: AdapterManifest, fetch: Callable[[str, int, int], bytes]) -> Vector:
        """The whole vector; what came before a cut, or a kill, is not asked for again."""
        folders = AdapterFolders(self.home)
        if folders.whole(manifest.vector):
            return folders.read(manifest.vector).vector
        path = folders.part(manifest.vector)
        with writing(self.home):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with path.open("ab") as file:
                while (have := file.tell()) < manifest.size:
                    got = fetch(manifest.vector, have, manifest.size)
                    if not got:
                        raise BadInput("the server's adapter is shorter than it says; nothing was installed")
                    file.write(got)
                    file.flush()
                os.fsync(file.fileno())
            data = path.read_bytes()
            if len(data) != manifest.size or digest(data) != manifest.vector:
                path.unlink()
                raise BadInput("the server's adapter is not the one that it signed; nothing was installed")
        return np.frombuffer(data, dtype="<f4").astype(np.float32)

    def _refuse(self, seen: AdapterState, vector: str) -> None:
        self.journal.note_adapter(seen.refusing(vector))
        AdapterFolders(self.home).tidy(_names(seen))

    def _put(self, seen: AdapterState, manifest: AdapterManifest, vector: Vector, loss: float | None) -> None:
        """Its own folder first, then the journal, then the link."""
        folders = AdapterFolders(self.home)
        folders.keep(manifest.vector, self.spec, vector)
        taken = Kept(
            vector=manifest.vector,
            run=manifest.run,
            round=manifest.round,
            loss=loss if loss is not None and math.isfinite(loss) else None,
        )
        state = seen.model_copy(update={"in_use": taken, "before": seen.in_use, "rolled_back": ""})
        self.journal.note_adapter(state)
        folders.turn(manifest.vector)
        folders.tidy(_names(state))


def settle(home: DeviceHome, journal: Journal) -> None:
    """Let the link say what the journal says. An adapter whose folder is gone or damaged gives way to that before."""
    folders = AdapterFolders(home)
    with home.turning():
        state = journal.adapter()
        if not _usable(folders, state.in_use):
            back = state.before if state.before is not None and _usable(folders, state.before) else Kept()
            state = state.model_copy(update={"in_use": back, "before": None})
            journal.note_adapter(state)
        if folders.linked() != state.in_use.vector:
            folders.turn(state.in_use.vector)


def roll_back(home: DeviceHome, journal: Journal) -> AdapterState:
    """Go back to the adapter before, and never take the newest again. Raises BadInput where there is none before it.

    Before the first one there is the model without an adapter.
    """
    folders = AdapterFolders(home)
    with home.turning():
        state = journal.adapter()
        newest = state.in_use.vector
        if not newest:
            raise BadInput("no adapter is in use, so there is none to go back from")
        if state.before is None or not _usable(folders, state.before):
            raise BadInput("the adapter before is not kept any more; only one step back is")
        update = {"in_use": state.before, "before": None, "rolled_back": newest}
        after = state.refusing(newest).model_copy(update=update)
        journal.note_adapter(after)
        folders.turn(after.in_use.vector)
    return after


def _usable(folders: AdapterFolders, kept: Kept) -> bool:
    return not kept.vector or folders.whole(kept.vector)


def _names(state: AdapterState) -> set[str]:
    return {kept.vector for kept in (state.in_use, state.before) if kept is not None and kept.vector}

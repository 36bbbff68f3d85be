"""How long bytes take: mean bandwidths, or throughput traces replayed at a hashed offset."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.errors import BadInput
from tacit_simulations.fleet.habits import F64, Devices
from tacit_simulations.fleet.hashing import hash64, wide
from tacit_simulations.fleet.links import LINKS

_MOBILE = np.array([link.name.startswith("cellular") for link in LINKS])
_FLOOR = 1e-3  # Mbit/s: a stalled trace still ends


class Network(Protocol):
    """How long a transfer takes that begins at a virtual time."""

    def seconds(self, devices: Devices, begin: F64, size: F64, mbit: F64, link: NDArray[np.uint8]) -> F64:
        """Seconds to move ``size`` bytes from ``begin`` on, over ``link`` of mean ``mbit`` Mbit/s. Shapes ``(n,)``."""
        ...


@dataclass(frozen=True, slots=True)
class MeanNetwork:
    """Every transfer at the device's mean bandwidth."""

    def seconds(self, devices: Devices, begin: F64, size: F64, mbit: F64, link: NDArray[np.uint8]) -> F64:
        return np.asarray(size * 8e-6 / np.maximum(mbit, _FLOOR))


@dataclass(frozen=True, eq=False)
class TraceNetwork:
    """Mobile transfers follow recorded throughput; each device has its trace and its offset, by hash.

    A trace is piecewise constant and repeats for ever. All traces lie end to end in one time axis and one axis of
    megabits, both increasing, so that any number of transfers is two binary searches (``np.searchsorted``) and no loop.
    """

    key: np.uint64
    time: F64  # (samples + traces,) seconds, knots of all traces end to end
    megabits: F64  # (samples + traces,) moved since the very beginning, at those knots
    first: NDArray[np.intp]  # (traces + 1,) index of each trace's first knot
    rescale: bool  # keep the device's mean bandwidth and replay only the shape

    @classmethod
    def load(cls, folder: Path, key: np.uint64, rescale: bool = True) -> "TraceNetwork":
        """All files below ``folder`` whose lines read "time_s mbit_s". Raises BadInput with the file and the line."""
        if not folder.is_dir():
            raise BadInput(f"fleet.traces names {folder}, which is not a folder; give a folder of throughput traces")
        paths = (
            path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() not in {".md", ".upstream"}
        )
        traces = [read_trace(path) for path in sorted(paths)]
        if not traces:
            raise BadInput(f'no throughput trace in {folder}; a trace is a file of lines "time_s mbit_s"')
        return cls.of(traces, key, rescale)

    @classmethod
    def of(cls, traces: Sequence[tuple[F64, F64]], key: np.uint64, rescale: bool = True) -> "TraceNetwork":
        """From ``(seconds (n + 1,) increasing from 0, Mbit/s (n,))``, one pair a trace."""
        time, megabits, first = [np.zeros(1)], [np.zeros(1)], [0]
        for knots, rates in traces:
            moved = np.cumsum(np.maximum(rates, _FLOOR) * np.diff(knots))
            time.append(time[-1][-1] + knots[1:])
            megabits.append(megabits[-1][-1] + moved)
            first.append(first[-1] + len(rates))
        return cls(key, np.concatenate(time), np.concatenate(megabits), np.array(first), rescale)

    def seconds(self, devices: Devices, begin: F64, size: F64, mbit: F64, link: NDArray[np.uint8]) -> F64:
        taken = MeanNetwork().seconds(devices, begin, size, mbit, link)
        rows = np.flatnonzero(_MOBILE[link])
        if len(rows):
            taken[rows] = self._replayed(devices[rows], begin[rows], size[rows] * 8e-6, mbit[rows])
        return taken

    def _replayed(self, devices: Devices, begin: F64, load: F64, mbit: F64) -> F64:
        """Seconds for ``load`` megabits."""
        h = hash64(self.key, devices, 0)
        trace = (wide(h, 0) * (len(self.first) - 1)).astype(np.intp)
        t0, t1 = self.time[self.first[trace]], self.time[self.first[trace + 1]]
        m0, m1 = self.megabits[self.first[trace]], self.megabits[self.first[trace + 1]]
        if self.rescale:
            load = load * ((m1 - m0) / (t1 - t0)) / np.maximum(mbit, _FLOOR)
        at = t0 + (begin + wide(h, 1) * (t1 - t0)) % (t1 - t0)
        target = np.interp(at, self.time, self.megabits) + load
        laps = np.floor((target - m0) / (m1 - m0))
        ends = np.interp(target - laps * (m1 - m0), self.megabits, self.time) + laps * (t1 - t0)
        return np.asarray(np.maximum(ends - at, 0.0))


def read_trace(path: Path) -> tuple[F64, F64]:
    """One trace: knots in seconds (n + 1,) from 0, and the rate between them (n,). The last sample lasts a median step.

    Raises BadInput on a line that is not two numbers, on time running backwards and on fewer than two samples.
    """
    rows: list[tuple[float, float]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read the throughput trace {path}: {error}; move other files elsewhere") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            time, rate = (float(word) for word in line.split())
        except ValueError as error:
            raise BadInput(f'{path}, line {number} is {line[:40]!r}, not two numbers "time_s mbit_s"') from error
        if not (np.isfinite(time) and np.isfinite(rate)) or rate < 0 or (rows and time < rows[-1][0]):
            raise BadInput(f"{path}, line {number}: time {time} s, rate {rate} Mbit/s; times rise and rates are >= 0")
        if not rows or time > rows[-1][0]:
            rows.append((time, rate))
    if len(rows) < 2:
        raise BadInput(f"{path} has {len(rows)} samples; a throughput trace needs 2 or more")
    data = np.array(rows)
    knots = data[:, 0] - data[0, 0]
    return np.append(knots, knots[-1] + np.median(np.diff(knots))), data[:, 1]

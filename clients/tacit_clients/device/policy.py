"""Whether the device may train now: power, network, idleness, hours. What cannot be told counts as no."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psutil

from tacit_clients.device.settings import PolicySettings, span_of

_BUSY_PERCENT: Final = 30.0  # of the processor, by others
_METERED: Final = ["nmcli", "-t", "-f", "GENERAL.METERED", "device", "show"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the machine is like now; None: that cannot be told."""

    charging: Callable[[], bool | None]
    metered: Callable[[], bool | None]
    busy_percent: Callable[[], float]
    now: Callable[[], datetime]

    @classmethod
    def real(cls) -> "Surroundings":
        return cls(_charging, _metered, _Busy(), datetime.now)


def obstacle(policy: PolicySettings, around: Surroundings) -> str:
    """One word for what keeps the device from training; empty where nothing does."""
    if policy.hours and not _within(policy.hours, around.now()):
        return "hours"
    if policy.charging and around.charging() is not True:
        return "battery"
    if policy.unmetered and around.metered() is not False:
        return "metered"
    if policy.idle and around.busy_percent() > _BUSY_PERCENT:
        return "busy"
    return ""


def _within(hours: str, now: datetime) -> bool:
    begins, ends = span_of(hours)
    moment = now.time()
    if begins <= ends:
        return begins <= moment < ends
    return moment >= begins or moment < ends  # over midnight


def _charging() -> bool | None:
    """A machine without a battery is always on mains."""
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError):
        return None
    return True if battery is None else battery.power_plugged


def _metered() -> bool | None:
    """As NetworkManager says of any device that is connected; None where there is no NetworkManager."""
    if shutil.which(_METERED[0]) is None:
        return None
    try:
        done = subprocess.run(_METERED, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    told = [line.partition(":")[2] for line in done.stdout.splitlines() if line]
    if any(word.startswith("yes") for word in told):
        return True
    return False if any(word.startswith("no") for word in told) else None


class _Busy:
    """How much of the processor others used since the last look, in percent."""

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._last: tuple[float, float, float] | None = None

    def __call__(self) -> float:
        times, own = psutil.cpu_times(), self._own.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        now = sum(times), idle, own.user + own.system
        last, self._last = self._last, now
        if last is None or now[0] <= last[0]:
            return 0.0
        total = now[0] - last[0]
        return max(0.0, 100.0 * (total - (now[1] - last[1]) - (now[2] - last[2])) / total)

"""Why a device cannot be asked, or what became of its task. One list of codes for both."""

from enum import IntEnum


class Outcome(IntEnum):
    """0 means all is well: the device is available, or its task completed. Names are the words of reports."""

    COMPLETED = 0
    LATE = 1  # would have finished after its deadline
    BATTERY = 2  # too little charge to begin, or to the end
    OFFLINE = 3  # unreachable: switched off, no connection where it is
    OUTAGE = 4  # its region is cut off
    MEMORY = 5  # cannot hold the model, ever
    NOT_CHARGING = 6  # was not plugged in, or was unplugged
    NOT_ON_WIFI = 7  # only a metered connection, or left for one
    BUSY = 8  # in use by its owner, or taken into use
    CHURN = 9  # has not joined yet, or left for good
    IN_FLIGHT = 10  # still at work on an earlier task
    CRASHED = 11  # the job died for none of the modelled reasons
    NETWORK = 12  # a transfer broke
    DISPLACED = 13  # replied in time, but enough others had replied before

    @property
    def word(self) -> str:
        return self.name.lower()

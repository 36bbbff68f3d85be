"""``tacit gateway`` behind a fence: an audit hook ends the process when anything but the named port is connected to.

Arguments: the port that may be reached, then those of ``tacit``.
"""

import os
import socket
import sys
from typing import Any

ALLOWED = int(sys.argv[1])
FENCED = 97  # the exit code of a process that tried


def fence(name: str, arguments: tuple[Any, ...]) -> None:
    if name in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        channel, address = arguments[0], arguments[-1]
        if channel.family in (socket.AF_INET, socket.AF_INET6) and address is not None and address[1] != ALLOWED:
            os.write(2, f"fence: {name} to {address}\n".encode())
            os._exit(FENCED)
    if name in ("socket.getaddrinfo", "socket.gethostbyname") and arguments[0] not in (None, "127.0.0.1", "localhost"):
        os.write(2, f"fence: {name} of {arguments[0]}\n".encode())
        os._exit(FENCED)


if __name__ == "__main__":
    sys.addaudithook(fence)
    from tacit_privacy.cli import main

    sys.exit(main(sys.argv[2:]))

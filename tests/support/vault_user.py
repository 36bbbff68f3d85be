"""Processes of their own that use one vault: to race in it, to be killed in it, to find its lock taken.

``vault_user.py issue VAULT CONVERSATION WORD COUNT LOG``: issues COUNT placeholders, half of them of values that other
processes issue too, and notes each in LOG when the vault has acknowledged it.
``vault_user.py replace VAULT LOG``: replaces one record of 1.6 MB for ever, and notes the number of each that is there.
``vault_user.py hold VAULT CONVERSATION``: enters a conversation, prints "in", and stays there until stdin closes.
"""

import os
import sys
from itertools import count
from pathlib import Path

from tacit_privacy.pii.vault.keys import KeyFile
from tacit_privacy.pii.vault.store import Vault


def opened(path: Path) -> Vault:
    return Vault.open(path, KeyFile(path.with_name(path.name + ".key")))


def issue(path: Path, conversation: str, word: str, times: int, log: Path) -> None:
    with opened(path) as vault, log.open("a") as file:
        for number in range(times):
            value = f"{word} {number}" if number % 2 else f"Everybody {number}"
            with vault.conversation(conversation) as talk:
                token = talk.placeholder("CUSTOM", value)
            file.write(f"{token}\t{value}\n")
            file.flush()
            os.fsync(file.fileno())


def replace(path: Path, log: Path) -> None:
    with opened(path) as vault, log.open("a+") as file:
        file.seek(0)
        begun = [int(noted) for noted in file.read().split()]
        for number in count(max(begun, default=0) + 2):  # the one after the last noted may be there
            vault.replace("state", b"%08d" % number * 200_000)
            file.write(f"{number:08d}\n")
            file.flush()
            os.fsync(file.fileno())


def hold(path: Path, conversation: str) -> None:
    with opened(path) as vault, vault.conversation(conversation) as talk:
        talk.placeholder("CUSTOM", "held")
        print("in", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1] == "hold":
        hold(Path(sys.argv[2]), sys.argv[3])
    elif sys.argv[1] == "replace":
        replace(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        issue(Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]), Path(sys.argv[6]))

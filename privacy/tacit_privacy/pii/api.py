"""Redaction for Python programs, in three calls::

with open_redactor(vault="vault.db") as redactor:
    safe = redactor.redact("Write to anna@example.org", conversation="letters").text
    answer = redactor.restore(ask(safe), conversation="letters")
"""

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tacit_privacy.errors import BadInput, TextRefused
from tacit_privacy.pii.entities import Detector
from tacit_privacy.pii.policy import RedactionPolicy, RestorePolicy
from tacit_privacy.pii.pseudonyms.conversation import Conversation
from tacit_privacy.pii.redactor import Redaction, Redactor
from tacit_privacy.pii.restoring.stream import StreamRestorer
from tacit_privacy.pii.trees import Path as Place

if TYPE_CHECKING:
    from tacit_privacy.pii.vault.store import Vault

CONVERSATION = "default"


def open_redactor(
    policy: RedactionPolicy | Path | str | None = None,
    vault: "Vault | Path | str | None" = None,
    *,
    key: str = "",
    detector: Detector | None = None,
) -> "TextRedactor":
    """What redacts and restores texts.

    ``policy``: or its TOML file; None is the default one. ``vault``: or its file, whose key is where ``key`` says (as
    ``--key`` of the command line); None keeps what placeholders stand for in memory, until ``close``. A vault that is
    passed in open stays open. Raises BadInput, VaultLocked.
    """
    from tacit_privacy.pii.vault.opening import open_vault
    from tacit_privacy.pii.vault.store import Vault

    rules = policy if isinstance(policy, RedactionPolicy) else _loaded(policy)
    if isinstance(vault, Vault):
        return TextRedactor(rules, vault, detector, owns_vault=False)
    opened = Vault.ephemeral() if vault is None else open_vault(Path(vault), key)
    return TextRedactor(rules, opened, detector, owns_vault=True)


def _refused(type: str, local_only: bool) -> TextRefused:
    return TextRefused(
        "local_only" if local_only else "block", f"it holds a {type}, which the policy does not let leave"
    )


def _loaded(policy: Path | str | None) -> RedactionPolicy:
    return RedactionPolicy.load(None if policy is None else Path(policy))


class TextRedactor:
    """Made by ``open_redactor``; a context manager; for any number of threads. Loads the recogniser when needed."""

    def __init__(
        self, policy: RedactionPolicy, vault: "Vault", detector: Detector | None = None, *, owns_vault: bool = False
    ) -> None:
        self.policy, self._vault, self._owns = policy, vault, owns_vault
        self._turn = threading.Lock()
        self._redactor = Redactor(detector, policy) if detector is not None else None

    def redact(self, text: str, conversation: str = CONVERSATION) -> Redaction:
        """``text`` with placeholders; what they stand for is on disk when this returns.

        The same value has the same placeholder throughout a conversation, and another one in every other. Raises
        TextRefused where the policy does not let a type leave, BadInput where the text is too long.
        """
        if len(text) > self.policy.detection.max_chars:
            raise BadInput(
                f"the text has {len(text)} characters, more than detection.max_chars "
                f"{self.policy.detection.max_chars}; split it or raise that"
            )
        redactor = self._ready()
        days = self.policy.conversation.expires_days
        with self._vault.conversation(conversation, expires_days=days) as talk:
            done = redactor.redact(text, talk)
        if done.refused is not None:
            raise _refused(done.refused, done.local_only)
        return done

    def redact_body(self, body: Any, structural: Callable[[Place], bool], conversation: str = CONVERSATION) -> Any:
        """A JSON body with placeholders in every string but those that ``structural`` names by their place.

        Raises TextRefused as ``redact`` does, and for pictures, sound and files, which nothing here can look into.
        """
        redactor = self._ready()
        days = self.policy.conversation.expires_days
        with self._vault.conversation(conversation, expires_days=days) as talk:
            done = redactor.redact_tree(body, talk, structural)
        if done.refused is not None:
            raise _refused(done.refused, done.local_only)
        if done.unreadable:
            raise TextRefused("unreadable", "it holds a picture, sound or a file, which nothing here can look into")
        return done.body

    def forget(self, conversation: str) -> None:
        """Erase a conversation: its placeholders can no longer be restored."""
        self._vault.erase(conversation)

    def restore(self, text: str, conversation: str = CONVERSATION, sinks: RestorePolicy | None = None) -> str:
        """``text`` with the originals of every placeholder that the conversation issued; None: wherever they stand."""
        stream = self.restorer(conversation, sinks)
        return stream.feed(text) + stream.close()

    def restorer(
        self, conversation: str = CONVERSATION, sinks: RestorePolicy | None = None, *, json_string: bool = False
    ) -> StreamRestorer:
        """``restore`` for a text that arrives in parts: ``feed`` each, then ``close``. ``json_string``: it is JSON."""
        talk = self._vault.peek(conversation)
        return StreamRestorer(talk or Conversation(conversation, bytes(32)), sinks, json_string)  # none: none issued

    def close(self) -> None:
        """Close the vault, unless it was passed in open."""
        if self._owns:
            self._vault.close()

    def __enter__(self) -> "TextRedactor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self) -> Redactor:
        with self._turn:
            if self._redactor is None:
                from tacit_privacy.pii.detection.detector import build_detector

                self._redactor = Redactor(build_detector(self.policy), self.policy)
            return self._redactor

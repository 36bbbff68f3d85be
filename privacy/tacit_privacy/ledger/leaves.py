"""What receipts prove: that a published root is over them, that devices signed them, and who took part how often."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pydantic import ValidationError

from tacit_privacy.accounting.policy import BudgetPolicy
from tacit_privacy.contract import Receipt
from tacit_privacy.ledger.account import Charge
from tacit_privacy.ledger.bodies import Committed
from tacit_privacy.ledger.keys import PublicKeys
from tacit_privacy.ledger.receipts import Leaf, Tree, read_leaves

_Problems = Iterator[tuple[str, str]]


class ReceiptReader:
    """Reads receipts beside a ledger, in its order and round by round: a file of any length is never held whole."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._leaves = read_leaves(lines)
        self._next: tuple[str, Leaf] | None = None
        self._broken = ""
        self._advance()
        self._keys = PublicKeys()
        self._key_of: dict[str, str] = {}
        self._device_of: dict[str, str] = {}
        self._newest: dict[tuple[str, str], tuple[Receipt, int]] = {}  # and the round that released it
        self._recent: dict[tuple[int, str], int] = {}
        self._ever: Counter[str] = Counter()
        self.receipts = 0

    def check(self, body: Committed, charge: Charge, hashes: Sequence[str], policy: BudgetPolicy | None) -> _Problems:
        """Kind and detail of what is wrong with the receipts of one release."""
        leaves = self._group(body.reservation)
        if not leaves:
            yield "receipts", f"the receipts of {body.reservation} are missing{self._broken}"
            return
        try:
            root = Tree(tuple(leaves)).root
        except ValueError:
            root = ""
        if root != body.receipts:
            yield "receipts", "the receipts do not have the root that was published"
        told = [leaf for leaf in leaves if leaf.receipt.payload]
        if body.completed is not None and len(told) != body.completed:
            yield "receipts", f"{len(told)} receipts for {body.completed} devices"
        for leaf in told:
            try:
                receipt = Receipt.from_bytes(leaf.receipt.payload)
            except ValidationError:
                yield "receipt", "a leaf is no receipt"
                continue
            yield from self._judge(receipt, leaf, charge, hashes)
            yield from self._count(receipt, charge, policy)

    def finish(self) -> Iterator[str]:
        """What is left over at the end of the ledger."""
        if self._broken:
            yield f"not readable{self._broken}"
        elif self._next is not None:
            yield f"receipts of {self._next[0]}, which the ledger does not release"

    def histogram(self) -> dict[int, int]:
        """How many devices took part how often, of those that did."""
        return dict(Counter(self._ever.values()))

    def _advance(self) -> None:
        try:
            self._next = next(self._leaves, None)
        except ValueError as error:
            self._next, self._broken = None, f": {error}"

    def _group(self, reservation: str) -> list[Leaf]:
        group = []
        while self._next is not None and self._next[0] == reservation:
            group.append(self._next[1])
            self._advance()
        return group

    def _judge(self, receipt: Receipt, leaf: Leaf, charge: Charge, hashes: Sequence[str]) -> _Problems:
        self.receipts += 1
        device, key = receipt.device, receipt.public_key
        if receipt.run != charge.run or receipt.round > charge.round:  # a buffer releases what was asked for earlier
            yield "receipt", f"{device!r} signed for round {receipt.round} of {receipt.run!r}"
        if not key:
            yield "unsigned", f"{device!r} has no key"
        elif not self._keys.verifies(key, leaf.receipt.payload, leaf.receipt.signature):
            yield "receipt_signature", f"{device!r} did not sign its receipt"
        elif self._key_of.setdefault(device, key) != key or self._device_of.setdefault(key, device) != device:
            yield "device_key", f"{device!r} and its key do not belong together"
        length = receipt.ledger_length
        if not 1 <= length <= len(hashes) or hashes[length - 1] != receipt.ledger_head:
            yield "fork", f"{device!r} was shown another ledger of {length} entries"

    def _count(self, receipt: Receipt, charge: Charge, policy: BudgetPolicy | None) -> _Problems:
        device = receipt.device
        before, released = self._newest.get((receipt.run, device), (None, 0))
        if before is not None and receipt.round <= before.round:
            yield "twice", f"{device!r} is in round {receipt.round} twice, or out of order"
        elif before is not None:
            if receipt.participation <= before.participation:
                yield "receipt", f"{device!r} counts {receipt.participation} after {before.participation}"
            if policy is not None and charge.round - released < policy.separation > 1:
                yield "separation", f"{device!r} took part in rounds {released} and {charge.round}"
        self._newest[receipt.run, device] = receipt, charge.round
        self._ever[device] += 1
        recent = self._recent[charge.period, device] = self._recent.get((charge.period, device), 0) + 1
        if recent > charge.participations:
            yield "participations", f"{device!r} took part {recent} times; the ledger tells of {charge.participations}"

"""Format-preserving encryption: FF1 of NIST SP 800-38G (AES), and identifiers whose digits it replaces.

FF1 is a permutation of the numerals of one length. The digits of a card, an account or a telephone number become other
digits in the same places; where a checksum held before, it holds again. Short numbers are refused: a permutation of few
values hides little.
"""

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tacit_privacy.errors import BadInput

LEAST_DOMAIN: Final = 1_000_000  # radix ** length, SP 800-38G rev. 1
LONGEST: Final = 4096  # numerals; the standard allows 2**32
_ROUNDS: Final = 10
_DIGITS: Final = frozenset("0123456789")

Permutation = Callable[[bytes, bytes, list[int], int], list[int]]


def ff1_encrypt(key: bytes, tweak: bytes, numerals: list[int], radix: int = 10) -> list[int]:
    """FF1.Encrypt. ``key``: 16, 24 or 32 bytes; ``numerals``: most significant first, each below ``radix``."""
    return _feistel(key, tweak, numerals, radix, range(_ROUNDS))


def ff1_decrypt(key: bytes, tweak: bytes, numerals: list[int], radix: int = 10) -> list[int]:
    """FF1.Decrypt, the inverse of ``ff1_encrypt``."""
    return _feistel(key, tweak, numerals, radix, range(_ROUNDS - 1, -1, -1))


def _feistel(key: bytes, tweak: bytes, numerals: list[int], radix: int, rounds: range) -> list[int]:
    """Algorithms 7 and 8 of SP 800-38G; the step numbers are theirs."""
    n = len(numerals)
    if not 2 <= radix <= 2**16 or not all(0 <= numeral < radix for numeral in numerals):
        raise BadInput(f"FF1 takes numerals from 0 to the radix less one, and a radix up to 65536, not {radix}")
    if n > LONGEST or radix**n < LEAST_DOMAIN:
        raise BadInput(f"FF1 in radix {radix} cannot take {n} numerals: too few to hide in, or more than {LONGEST}")
    u = n // 2  # 1
    v = n - u
    left, right = numerals[:u], numerals[u:]  # 2
    b = (((radix**v - 1).bit_length()) + 7) // 8  # 3
    d = 4 * -(-b // 4) + 4  # 4
    p = bytes((1, 2, 1)) + radix.to_bytes(3, "big") + bytes((10, u % 256))  # 5
    p += n.to_bytes(4, "big") + len(tweak).to_bytes(4, "big")
    forward = rounds.step > 0
    for i in rounds:  # 6
        source = right if forward else left
        q = tweak + bytes((-len(tweak) - b - 1) % 16) + bytes((i,)) + _number(source, radix).to_bytes(b, "big")
        y = int.from_bytes(_expanded(key, _prf(key, p + q), d), "big")
        m = u if i % 2 == 0 else v
        if forward:
            c = (_number(left, radix) + y) % radix**m
            left, right = right, _numerals(c, radix, m)
        else:
            c = (_number(right, radix) - y) % radix**m
            left, right = _numerals(c, radix, m), left
    return left + right


def _prf(key: bytes, message: bytes) -> bytes:
    """CBC-MAC of whole blocks (Algorithm 6)."""
    encryptor = Cipher(algorithms.AES(key), modes.CBC(bytes(16))).encryptor()
    return encryptor.update(message)[-16:]


def _expanded(key: bytes, r: bytes, length: int) -> bytes:
    """The first ``length`` bytes of R, CIPH(R xor 1), CIPH(R xor 2) and so on."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    base = int.from_bytes(r, "big")
    blocks = (encryptor.update((base ^ j).to_bytes(16, "big")) for j in range(1, -(-length // 16)))
    return b"".join((r, *blocks))[:length]


def _number(numerals: list[int], radix: int) -> int:
    value = 0
    for numeral in numerals:
        value = value * radix + numeral
    return value


def _numerals(value: int, radix: int, length: int) -> list[int]:
    out = [0] * length
    for place in range(length - 1, -1, -1):
        value, out[place] = divmod(value, radix)
    return out


# --- identifiers


def luhn_holds(digits: str) -> bool:
    """Whether the last digit is the Luhn checksum (ISO/IEC 7812-1) of the others."""
    return digits[-1:] == luhn_digit(digits[:-1])


def luhn_digit(digits: str) -> str:
    """The digit that makes the Luhn checksum of ``digits`` hold."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 if place % 2 else 2)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def _iban_remainder(compact: str) -> int:
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97


def iban_holds(compact: str) -> bool:
    """Whether an IBAN without separators has a valid checksum (ISO 13616)."""
    shaped = compact[:2].isalpha() and compact[2:4].isdigit() and 15 <= len(compact) <= 34
    return compact.isascii() and compact.isalnum() and shaped and _iban_remainder(compact) == 1


def encrypted_digits(key: bytes, tweak: bytes, value: str) -> str | None:
    """``value`` with other digits in the same places; None when it has too few. A checksum that holds will hold."""
    return _with_digits(key, tweak, value, ff1_encrypt)


def decrypted_digits(key: bytes, tweak: bytes, value: str) -> str | None:
    """The inverse of ``encrypted_digits``."""
    return _with_digits(key, tweak, value, ff1_decrypt)


def _with_digits(key: bytes, tweak: bytes, value: str, permute: Permutation) -> str | None:
    places = [at for at, character in enumerate(value) if character in _DIGITS]
    compact = "".join(character for character in value if character.isalnum()).upper()
    digits = "".join(value[at] for at in places)
    iban = iban_holds(compact)
    if iban:  # the country stays, its two check digits are computed
        new = _permuted(key, tweak + b"iban", digits[2:], permute)
        new = None if new is None else _iban_checked(compact, new)
    elif digits == compact and len(digits) >= 12 and luhn_holds(digits):
        new = _permuted(key, tweak + b"luhn", digits[:-1], permute)
        new = None if new is None else new + luhn_digit(new)
    else:
        new = _permuted(key, tweak, digits, permute)
    if new is None:
        return None
    out = list(value)
    for at, digit in zip(places, new, strict=True):
        out[at] = digit
    return "".join(out)


def _permuted(key: bytes, tweak: bytes, digits: str, permute: Permutation) -> str | None:
    if len(digits) > LONGEST or 10 ** len(digits) < LEAST_DOMAIN:
        return None
    return "".join(map(str, permute(key, tweak, [int(digit) for digit in digits], 10)))


def _iban_checked(compact: str, account: str) -> str:
    """The digits of the IBAN ``compact`` with those after the check digits replaced: check digits first."""
    digits = iter(account)
    body = "".join(next(digits) if character in _DIGITS else character for character in compact[4:])
    return f"{98 - _iban_remainder(f'{compact[:2]}00{body}'):02d}{account}"

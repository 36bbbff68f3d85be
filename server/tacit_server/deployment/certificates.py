"""The server's own certificate authority and the certificate that devices meet."""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tacit_privacy.errors import BadInput

AUTHORITY_DAYS, SERVER_DAYS = 3650, 397  # 397: the longest that browsers take
_SKEW = timedelta(minutes=5)  # devices whose clocks are behind
_ALWAYS = ("localhost", "127.0.0.1", "::1")  # the server's own processes reach it by these

Pem = bytes
Pair = tuple[Pem, Pem]  # certificate and private key


def authority(name: str) -> Pair:
    """A certificate authority of one server, good for ten years; it signs nothing but that server's certificates."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Tacit authority of {name}"[:64])])
    limit = x509.BasicConstraints(ca=True, path_length=0)
    builder = _builder(subject, subject, key.public_key(), AUTHORITY_DAYS).add_extension(limit, critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return _pem(builder.sign(key, hashes.SHA256())), _private(key)


def server_certificate(by: Pair, names: Sequence[str]) -> Pair:
    """A certificate for ``names`` (host names and addresses) signed by the authority ``by``; 397 days."""
    issuer, issuer_key = x509.load_pem_x509_certificate(by[0]), load_pem_private_key(by[1], None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise BadInput("the authority's key is of another kind; restore the server's directory from a copy")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    known = x509.SubjectAlternativeName([_general(name) for name in dict.fromkeys((*names, *_ALWAYS))])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = _builder(subject, issuer.subject, key.public_key(), SERVER_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(known, critical=False).add_extension(identifier, critical=False)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return _pem(builder.sign(issuer_key, hashes.SHA256())), _private(key)


def fingerprint(certificate: Pem) -> str:
    """SHA-256 of a certificate, 64 hexadecimal digits: what a device pins."""
    return x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256()).hex()


def expires(path: Path) -> datetime:
    """When the certificate in a file ends. Raises BadInput."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read the certificate {path}; tacit server rotate certificate makes another") from error


def missing_from(path: Path, names: Sequence[str]) -> list[str]:
    """Those of ``names`` that a server's certificate is not for. Raises BadInput."""
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        known = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound) as error:
        raise BadInput(f"{path} is no certificate of a server") from error
    return [name for name in names if _general(name) not in list(known)]


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> Pem:
    return certificate.public_bytes(Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> Pem:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

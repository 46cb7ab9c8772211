"""The user's certificate, and both ends of an encrypted connection.

Servers that other machines may reach ask for a context; :mod:`coordinator.wire.client` has its sockets secured. One
self-signed certificate per user is made at first use and kept in the state directory. Nobody signs for anybody: a
client knows the *fingerprint* (SHA-256 of the certificate, 64 hexadecimal digits), which came to it by the way that the
token came, and compares it after the handshake, before it sends a byte. This room never sees a token.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import socket
import ssl
from functools import lru_cache
from pathlib import Path

from coordinator import errors, paths

#: A fingerprint is the trust, not a date; the certificate outlives the machine.
VALID_DAYS = 36500
_DIGITS = frozenset("0123456789abcdef")


def certificate_file() -> Path:
    """The user's private key and certificate, PEM, mode 0600."""
    return paths.state_directory() / "tls.pem"


def own_fingerprint() -> str:
    """The fingerprint of the user's certificate, which is made if there is none. Raises StateError."""
    return fingerprint_of(ssl.PEM_cert_to_DER_cert(_certificate(_own_file())))


def server_context() -> ssl.SSLContext:
    """What a server of this user shows to its clients. Raises StateError."""
    path = _own_file()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    # A ticket would make an idle client's socket readable, which to it means that the server hung up.
    context.num_tickets = 0
    _certificate(path)  # nobody else's file, and for our eyes only
    try:
        context.load_cert_chain(path)
    except OSError as error:
        raise _unusable(path) from error
    return context


def fingerprint_of(certificate: bytes) -> str:
    """Of a certificate in DER."""
    return hashlib.sha256(certificate).hexdigest()


def read_fingerprint(text: str) -> str:
    """``text`` as our 64 digits, also from what other tools print (``AB:CD:...``). Raises BadInput."""
    digits = text.strip().lower().removeprefix("sha256:").replace(":", "")
    if len(digits) != 64 or not _DIGITS.issuperset(digits):
        raise errors.BadInput(f"{text[:100]!r} is no fingerprint: it has 64 hexadecimal digits (SHA-256).")
    return digits


def secured(connected: socket.socket, fingerprint: str | None, url: str) -> ssl.SSLSocket:
    """``connected`` after the handshake with a server that showed the certificate of this fingerprint.

    Its timeout is that of the handshake. Raises NotAuthorised for another certificate, or if none is known, OSError
    for a handshake that fails; the socket is closed then, and nothing was sent but the handshake.
    """
    try:
        if fingerprint is None:
            raise errors.NotAuthorised(
                f"No fingerprint is known for {url}, so that nobody can tell who answers there. Copy its line from the "
                f"token file of whoever started that server into {paths.token_file()}."
            )
        expected = read_fingerprint(fingerprint)
        channel = _client_context().wrap_socket(connected, do_handshake_on_connect=False)
    except BaseException:
        connected.close()
        raise
    try:
        channel.do_handshake()
        shown = fingerprint_of(channel.getpeercert(binary_form=True) or b"")
        if not hmac.compare_digest(shown, expected):
            raise errors.NotAuthorised(
                f"{url} shows a certificate with the fingerprint {shown}, but the one known for it is {expected}; "
                f"nothing was sent to it. If that server was set up anew, copy its line again from the token file of "
                f"whoever started it into {paths.token_file()}; if not, somebody else answers in its place."
            )
    except BaseException:
        channel.close()
        raise
    return channel


@lru_cache(maxsize=1)
def _client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # no authority signed anything: secured() compares the fingerprint
    return context


# --- making it ----------------------------------------------------------------------------------------


def _own_file() -> Path:
    path = certificate_file()
    if not path.exists():
        with paths.locked(path.with_name("tls.lock")):
            if not path.exists():
                paths.replace_private(path, _made())
    return path


def _certificate(path: Path) -> str:
    """The certificate of the file, as PEM."""
    try:
        with os.fdopen(paths.open_private(path, os.O_RDONLY), "rb") as file:
            text = file.read().decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path) from error
    begin, end = text.find(ssl.PEM_HEADER), text.find(ssl.PEM_FOOTER)
    with contextlib.suppress(ValueError):
        if 0 <= begin < end:
            ssl.PEM_cert_to_DER_cert(text[begin : end + len(ssl.PEM_FOOTER)])
            return text[begin : end + len(ssl.PEM_FOOTER)]
    raise _unusable(path)


def _unusable(path: Path) -> errors.StateError:
    return errors.StateError(
        f"{path} does not hold a usable key and certificate. Remove it and start your servers again: they make a new "
        f"one, whose fingerprint others then need."
    )


def _made() -> bytes:
    """A new private key and its certificate."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "coordinator")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A day back, for clients whose clock is behind.
        .not_valid_before(now - day)
        .not_valid_after(now + VALID_DAYS * day)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)

"""The secret of a session, and TLS with the certificates of the Ray cluster."""

from __future__ import annotations

import os
import secrets
import ssl
from collections.abc import Mapping

from distgraph.errors import UnsupportedClusterError

__all__ = ("new_secret", "tls_contexts")

_FILES = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")


def new_secret() -> bytes:
    """Return a secret for a session. It may travel through Ray only."""
    return secrets.token_bytes(32)


def tls_contexts(
    environment: Mapping[str, str] = os.environ,
) -> tuple[ssl.SSLContext, ssl.SSLContext] | None:
    """Return the TLS contexts of a listener and of a client. None where TLS is off.

    TLS is on where it is for Ray (``RAY_USE_TLS``), with Ray's certificate, key and authority. Both
    sides have to show a certificate of that authority. Names in certificates are not compared with
    addresses: the greeting shows who belongs to the session.

    Raises:
        UnsupportedClusterError: TLS is on, and a file is not named or cannot be used.
    """
    if environment.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return None
    missing = [name for name in _FILES if not environment.get(name)]
    if missing:
        raise UnsupportedClusterError(
            f"RAY_USE_TLS is on and {', '.join(missing)} is not set: set it as for Ray itself, in "
            "the environment of every process of the cluster"
        )
    certificate, key, authority = (environment[name] for name in _FILES)
    try:
        listens = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        dials = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        dials.check_hostname = False
        for context in (listens, dials):
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_cert_chain(certificate, key)
            context.load_verify_locations(authority)
    except OSError as error:  # ssl.SSLError is one
        raise UnsupportedClusterError(
            f"RAY_USE_TLS is on and its files cannot be used ({error}): check "
            f"{', '.join(f'{name}={environment[name]}' for name in _FILES)}"
        ) from error
    return listens, dials

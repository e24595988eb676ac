"""The greeting: both sides of a connection prove that they know the session's secret. Pure.

The listener sends a random number (``challenge``). The other side answers with its version, its
role, its name, a random number of its own and a proof over all of it (``answer``). The listener
checks the proof and proves in turn that it knows the secret (``check``, ``welcome``). A proof holds
both random numbers, so that no recorded greeting is accepted again; the two proofs differ, so that
neither can be sent back. Nothing is unpickled.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from typing import NamedTuple

__all__ = ("LIMIT", "VERSION", "GreetingError", "Peer")

VERSION = 3
"""Of the wire. Processes of different versions refuse each other."""

LIMIT = 1024
"""Most bytes of a frame before the greeting is over."""

_MAGIC = b"distgraph"
_NONCE = 32
_PROOF = 32
_FIXED = struct.Struct("!9sHB")
"""Magic, version, and what the message is."""

_CHALLENGE, _ANSWER, _WELCOME, _REFUSED = range(4)
_LONGEST = 200


class GreetingError(Exception):
    """The other side is not what it should be. The message says why, without secrets."""


class Peer(NamedTuple):
    """What the other side said of itself. It has proven that it knows the secret."""

    role: str
    """What the connection is for."""
    name: str
    """Names the process in messages and statistics."""


def challenge() -> tuple[bytes, bytes]:
    """Return the listener's first message, and what ``check`` needs of it."""
    nonce = secrets.token_bytes(_NONCE)
    return _FIXED.pack(_MAGIC, VERSION, _CHALLENGE) + nonce, nonce


def answer(message: bytes, secret: bytes, peer: Peer) -> tuple[bytes, bytes]:
    """Return the answer to a challenge, and what ``accepted`` needs of it.

    Raises:
        GreetingError: The message is not a challenge of this version.
    """
    theirs = _opened(message, _CHALLENGE)
    if len(theirs) != _NONCE:
        raise GreetingError("its greeting is cut off")
    ours = secrets.token_bytes(_NONCE)
    told = theirs + ours + _text(peer.role) + _text(peer.name)
    body = ours + _text(peer.role) + _text(peer.name)
    return _FIXED.pack(_MAGIC, VERSION, _ANSWER) + _prove(secret, b"dials", told) + body, told


def check(message: bytes, secret: bytes, nonce: bytes) -> tuple[bytes, Peer]:
    """Check the answer to the challenge with ``nonce``. Return the welcome, and who it is.

    Raises:
        GreetingError: The message is no answer, or its sender does not know the secret.
    """
    rest = _opened(message, _ANSWER)
    proof, body = rest[:_PROOF], rest[_PROOF:]
    told = nonce + body
    if not hmac.compare_digest(proof, _prove(secret, b"dials", told)):
        raise GreetingError("it does not know the secret of this session")
    role, after = _read_text(body[_NONCE:])
    name, _ = _read_text(after)
    welcome = _FIXED.pack(_MAGIC, VERSION, _WELCOME) + _prove(secret, b"listens", told)
    return welcome, Peer(role, name)


def refusal(reason: str) -> bytes:
    """Return the message that reports to the other side why it is not accepted."""
    return _FIXED.pack(_MAGIC, VERSION, _REFUSED) + reason.encode()[:_LONGEST]


def accepted(message: bytes, secret: bytes, told: bytes) -> None:
    """Check the listener's welcome.

    Raises:
        GreetingError: The listener refuses the connection, or does not know the secret.
    """
    if message[: _FIXED.size] == _FIXED.pack(_MAGIC, VERSION, _REFUSED):
        raise GreetingError(f"it refuses: {message[_FIXED.size :].decode(errors='replace')}")
    proof = _opened(message, _WELCOME)
    if not hmac.compare_digest(proof, _prove(secret, b"listens", told)):
        raise GreetingError("it does not know the secret of this session")


def _prove(secret: bytes, side: bytes, told: bytes) -> bytes:
    return hmac.digest(secret, side + b"\0" + struct.pack("!H", VERSION) + told, "sha256")


def _opened(message: bytes, what: int) -> bytes:
    if len(message) < _FIXED.size or message[: len(_MAGIC)] != _MAGIC:
        raise GreetingError("it does not speak the protocol of distgraph")
    _, version, is_what = _FIXED.unpack_from(message)
    if version != VERSION:
        raise GreetingError(
            f"it speaks version {version} of the protocol, and this process version {VERSION}: "
            "install the same version of distgraph on every node"
        )
    if is_what != what:
        raise GreetingError("its greeting is out of order")
    return message[_FIXED.size :]


def _text(text: str) -> bytes:
    encoded = text.encode()[:_LONGEST]
    return bytes([len(encoded)]) + encoded


def _read_text(data: bytes) -> tuple[str, bytes]:
    if not data or len(data) < 1 + data[0]:
        raise GreetingError("its greeting is cut off")
    end = 1 + data[0]
    return data[1:end].decode(errors="replace"), data[end:]

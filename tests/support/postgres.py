"""A real PostgreSQL on loopback, from the Debian package, for as long as the tests run."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

USER = "distgraph"
_START = 30.0


@dataclass
class Postgres:
    """A server that is running."""

    port: int
    password: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str = "postgres", password: str | None = None) -> str:
        """Return a connection string."""
        secret = self.password if password is None else password
        return f"postgresql://{USER}:{secret}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database, and return its connection string."""
        import psycopg

        name = f"db{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return self.url(name)


def why_not() -> str | None:
    """Return why there can be no server here, None where there can be one."""
    try:
        importlib.import_module("langgraph.checkpoint.postgres")
    except ImportError as error:
        return f"PostgreSQL is not tested: {error} (pip install 'distgraph[postgres]')"
    if _programs() is None:
        return "PostgreSQL is not tested: its server is not installed (apt-get install postgresql)"
    if os.geteuid() == 0 and _user() is None:
        return "PostgreSQL is not tested: it refuses to run as root, and there is no other user"
    return None


def _programs() -> Path | None:
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3])
    )
    on_path = shutil.which("initdb")
    candidates = [*reversed(found), *([Path(on_path)] if on_path else [])]
    return next((p.parent for p in candidates if (p.parent / "postgres").exists()), None)


def _user() -> pwd.struct_passwd | None:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """Start a server with an empty data folder; it and the folder are gone at the end."""
    programs = _programs()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="distgraph-postgres-"))
    as_user: dict[str, Any] = {}
    user = _user()
    if os.geteuid() == 0 and user is not None:  # the server refuses to run as root
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    server: subprocess.Popen[bytes] | None = None
    try:
        password = secrets.token_hex(8)
        secret = folder / "password"
        secret.write_text(password, encoding="ascii")
        secret.chmod(0o644)  # in a folder that nobody else can enter
        data = folder / "data"
        subprocess.run(
            [
                *(programs / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256"),
                *(f"--pwfile={secret}", "--no-sync", "-E", "UTF8", "--locale=C"),
            ],
            check=True,
            capture_output=True,
            cwd=folder,
            timeout=60,
            **as_user,
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 50,
        }
        settings = [f"--{name}={value}" for name, value in options.items()]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, *settings],
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
                **as_user,
            )
        made = Postgres(port, password)
        _wait(made, server, folder / "log")
        yield made
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)  # ends open connections too
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.send_signal(signal.SIGQUIT)
                server.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(made: Postgres, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    until = time.monotonic() + _START
    while True:
        try:
            psycopg.connect(made.url(), connect_timeout=2).close()
            return
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"PostgreSQL did not start: {log.read_text()}") from error
            time.sleep(0.05)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's PostgreSQL; skips, with the reason, where it cannot be had."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with running() as made:
        yield made

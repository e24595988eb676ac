"""The command line: each command is a module of this package, and is named in ``COMMANDS``.

A module has ``HELP``, ``add_arguments(parser)`` and ``run(options)``, which returns the exit code.
Modules are cheap to import: what a command needs is imported when it runs.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from distgraph._internal import settings
from distgraph._internal.mistakes import nearest
from distgraph.cli import codes
from distgraph.errors import DistgraphError, RunNotFound, UnsupportedClusterError

__all__ = ("COMMANDS", "main")

COMMANDS = ("serve", "doctor", "runs", "watch", "cancel", "top")
"""The commands, in the order in which help shows them."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors name the argument that was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with 2."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        found = re.search(r"unrecognized arguments: (--[^\s=]+)", message)
        if wrong := re.search(r"invalid choice: '(\w+)' \(choose from", message):
            found, known = wrong, re.findall(r"\w+", message.partition("(choose from")[2])
        hint = nearest(found[1], known, 0.6) if found else ""
        super().error(f"{message}.{hint}" if hint else message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; see ``distgraph.cli.codes``."""
    parser = _Parser(
        prog="distgraph",
        description="Serve graphs, check machines, and look at runs on a Ray cluster.",
        epilog=codes.TEXT,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"distgraph.cli.{name}")
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:  # the command's own usage, not that of all commands
        command = commands.choices[options.command]
        command.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        settings.check()
    except ValueError as error:
        print(f"distgraph {options.command}: {error}", file=sys.stderr)
        return codes.FAILED
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except DistgraphError as error:
        print(f"distgraph {options.command}: {error}", file=sys.stderr)
        missing = isinstance(error, (RunNotFound, UnsupportedClusterError))
        return codes.NOT_FOUND if missing else codes.FAILED
    except KeyboardInterrupt:
        return codes.INTERRUPTED
    except BrokenPipeError:  # who read the output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return codes.INTERRUPTED
    return code

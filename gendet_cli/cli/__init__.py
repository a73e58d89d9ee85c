"""The command line: options to settings, one call, rendering, an exit code. The only room that prints or exits."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gendet_cli.cli.app import app


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with ``argv`` (default: the process's) and return its exit code."""
    try:
        app(args=list(argv) if argv is not None else None, prog_name="gendet")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    return 0


def run() -> None:
    """The ``gendet`` console command."""
    sys.exit(main())

"""``gendet plugins``: what is installed, what it offers, and what is broken."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gendet_cli.cli.guard import guarded, pinned_plugins
from gendet_cli.errors import ExitCode


@guarded
def plugins() -> ExitCode:
    """List plugins: name, version, hooks, what each offers, and why a broken one is broken."""
    from gendet_cli.plugin.registry import Registry

    table = Table("plugin", "version", "hooks", "offers", "broken", box=None, pad_edge=False)
    for info in Registry(pinned_plugins()).plugins.values():
        cells = (info.name, info.version, ", ".join(info.hooks), ", ".join(info.offers), info.broken)
        table.add_row(*(escape(cell) for cell in cells))
    Console(highlight=False).print(table)
    return ExitCode.CLEAR

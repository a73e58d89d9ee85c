"""The app and its commands; each command lives in a file of its own."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from gendet_cli import __version__
from gendet_cli.cli.compare import compare
from gendet_cli.cli.data import app as data
from gendet_cli.cli.evaluate import evaluate
from gendet_cli.cli.export_onnx import export_onnx
from gendet_cli.cli.features import features
from gendet_cli.cli.plugins import plugins
from gendet_cli.cli.scan import scan
from gendet_cli.cli.train import train

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"gendet {__version__}")
        raise typer.Exit()


@app.callback()
def _gendet(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Tell whether pictures were made by an AI, on what evidence, and how sure. A verdict is evidence, not proof."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # CUDA's own condition for the same bits every time


for _command in (scan, train, evaluate, compare, features, plugins):
    app.command()(_command)
app.command("export-onnx")(export_onnx)
app.add_typer(data, name="data")

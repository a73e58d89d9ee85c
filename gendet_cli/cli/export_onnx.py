"""``gendet export-onnx``: one file from pixels to logit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gendet_cli.cli.guard import guarded, pinned_plugins, stderr
from gendet_cli.errors import ExitCode


@guarded
def export_onnx(
    detector: Annotated[str, typer.Option(help="Name or folder.")] = "gendet",
    out: Annotated[Path | None, typer.Option(help="The file [default: NAME.onnx].", show_default=False)] = None,
) -> ExitCode:
    """Write one ONNX file, from views to discrepancy and logit, with thresholds and hashes inside."""
    from gendet_cli.detector.detector import read_manifest
    from gendet_cli.detector.files import detector_folder
    from gendet_cli.export import TOLERANCE, export_detector
    from gendet_cli.plugin.registry import Registry

    folder = detector_folder(detector)
    manifest = read_manifest(folder)
    target = out or Path(f"{manifest.name}.onnx")
    parity = export_detector(folder, manifest, Registry(pinned_plugins()), target)
    stderr().print(
        f"{target}: torch and onnxruntime differ on {parity.pictures} seeded inputs by at most "
        f"{parity.logit:.1e} in logit and {parity.discrepancy:.1e} in discrepancy (allowed {TOLERANCE:g})",
        markup=False,
    )
    return ExitCode.CLEAR

"""Options that several commands share, and where a data set is: an option, else its environment variable."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gendet_cli.data.layouts import Places

Dataset = Annotated[str, typer.Option(help="open-set, folders, csv, genimage or universalfakedetect.")]
DataRoot = Annotated[
    Path | None, typer.Option(help="Root of the data set; or GENDET_DATA, GENDET_GENIMAGE, ...", show_default=False)
]
Real = Annotated[Path | None, typer.Option(help="Layout folders: real pictures.", show_default=False)]
Fake = Annotated[Path | None, typer.Option(help="Layout folders: generated pictures.", show_default=False)]
CsvFile = Annotated[
    Path | None, typer.Option("--csv", help="Layout csv: columns path, label, group.", show_default=False)
]
FeatureStore = Annotated[Path, typer.Option("--features", help="The feature store.")]
BackboneName = Annotated[str, typer.Option(help="family[:variant], joined by +.")]
Workers = Annotated[int, typer.Option(min=1, help="Decoding processes.")]
AllowNetwork = Annotated[bool, typer.Option("--allow-network", help="Allow the download of a backbone's weights.")]


def places_of(
    dataset: str, root: Path | None, real: Path | None = None, fake: Path | None = None, table: Path | None = None
) -> Places:
    """The places of a layout's data. Raises SettingsError for an unknown layout."""
    from gendet_cli.data.layouts import Places, layout

    variable = layout(dataset).environment
    named = os.environ.get(variable) if variable else None
    return Places(root or (Path(named) if named else None), real, fake, table)

"""The errors gendet raises, and the exit code of each.

GendetError
├── SettingsError      2   an option, a path, a device or a data layout that cannot be used
├── PluginError        4   a plugin that was asked for is missing, broken or doubled
├── WeightsError       4   weights are missing, do not match their hash, or need the network
├── ExportError        4   a detector cannot be exported within tolerance
└── ReportError        5   a report cannot be read, written or resumed

A picture that cannot be read is not an error but a :class:`gendet_cli.types.Failure`: a row like any other.
"""

from enum import IntEnum

__all__ = [
    "ExitCode",
    "ExportError",
    "GendetError",
    "PluginError",
    "ReportError",
    "SettingsError",
    "WeightsError",
]


class ExitCode(IntEnum):
    """What the ``gendet`` command returns to the shell."""

    CLEAR = 0
    FLAGGED = 1
    SETTINGS = 2
    UNDECIDED = 3
    BROKEN = 4
    REPORT = 5
    BUG = 70
    INTERRUPTED = 130
    TERMINATED = 143


class GendetError(Exception):
    """A problem the user can do something about: ``message`` names it, ``hint`` says what to do."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SettingsError(GendetError):
    """An option, a path, a device or a data layout that cannot be used."""

    exit_code = ExitCode.SETTINGS


class PluginError(GendetError):
    """A plugin that was asked for is missing, broken, or two of them claim one name."""

    exit_code = ExitCode.BROKEN


class WeightsError(GendetError):
    """Weights are missing, do not match their recorded hash, or need a network that is not allowed."""

    exit_code = ExitCode.BROKEN


class ExportError(GendetError):
    """A detector cannot be exported, or its export does not agree with it."""

    exit_code = ExitCode.BROKEN


class ReportError(GendetError):
    """A report cannot be read, written or resumed."""

    exit_code = ExitCode.REPORT

"""What every command shares: errors to one message and an exit code, signals, progress, the environment."""

from __future__ import annotations

import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from gendet_cli.errors import ExitCode, GendetError

P = ParamSpec("P")


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C."""


def _on_sigterm(number: int, frame: Any) -> NoReturn:
    raise Terminated


def stderr() -> Console:
    """Where messages and progress go."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say_error(error: GendetError) -> None:
    """One message: what is wrong, and what to do."""
    console = stderr()
    console.print(f"[bold red]error:[/] {escape(error.message)}")
    if error.hint:
        console.print(f"[bold]hint:[/] {escape(error.hint)}")


def guarded(command: Callable[P, ExitCode]) -> Callable[P, None]:
    """A command whose every end is an exit code."""

    @functools.wraps(command)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        previous = signal.signal(signal.SIGTERM, _on_sigterm)
        try:
            code = command(*args, **kwargs)
        except GendetError as error:
            say_error(error)
            code = error.exit_code
        except Terminated:
            code = ExitCode.TERMINATED
        except KeyboardInterrupt:
            stderr().print("interrupted; what was written stays, --resume goes on from there")
            code = ExitCode.INTERRUPTED
        except (
            BrokenPipeError,
            SystemExit,
        ):  # rich turns a closed pipe into SystemExit(1), which would read as flagged
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = ExitCode.REPORT
        except Exception:  # noqa: BLE001  a bug: shown whole, with an exit code of its own
            traceback.print_exc()
            code = ExitCode.BUG
        finally:
            signal.signal(signal.SIGTERM, previous)
        raise typer.Exit(int(code))

    return call


def pinned_plugins() -> tuple[str, ...] | None:
    """Names in ``GENDET_PLUGINS``, or None where it is not set."""
    names = os.environ.get("GENDET_PLUGINS")
    return None if names is None else tuple(name.strip() for name in names.split(",") if name.strip())


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Finished per second."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "-/s")


@contextmanager
def progress_on_stderr(*, quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """A function (what, done, total or None) that shows one bar on stderr; silent when quiet or not a terminal."""
    console = stderr()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def show(what: str, done: int, total: int | None) -> None:
            bar.update(task, description=escape(what), completed=done, total=total)

        yield show

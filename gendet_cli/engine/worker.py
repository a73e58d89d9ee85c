"""The decoding child, as ``python -m gendet_cli.engine.worker [SECONDS]``; started by the pool, not by people.

A child of its own, because a file may crash a decoder, keep it busy for ever, or make it ask for gigabytes. It takes
no more than 1.5 GiB of address space (where the system can limit it), leaves no core file, ends
itself after SECONDS on one picture even when its parent has gone, and says nothing on standard output or error once
it is ready. It loads neither torch nor onnxruntime.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import BinaryIO

__all__ = ["main", "serve"]


def main(arguments: list[str]) -> None:
    """Serve requests on standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy: a thread per core would eat the address space
    requests, replies = _take_streams()
    with contextlib.suppress(EOFError, BrokenPipeError):
        serve(requests, replies, int(arguments[0]) if arguments else 0)


def serve(requests: BinaryIO, replies: BinaryIO, alarm_s: int) -> None:
    """Answer a job with ``{}`` or its fault, then every request with its outcome, until EOFError."""
    from gendet_cli.engine.frames import read_json, write_json, write_outcome
    from gendet_cli.engine.job import Job
    from gendet_cli.engine.stages import MEMORY_LIMIT_BYTES, Stages
    from gendet_cli.errors import PluginError
    from gendet_cli.types import Source

    try:
        stages = Stages(Job.from_json(read_json(requests)))
    except PluginError as error:
        write_json(replies, {"fault": error.message, "hint": error.hint})
        return
    _limit_memory(MEMORY_LIMIT_BYTES)
    write_json(replies, {})
    _silence()
    while True:
        request = read_json(requests)
        _alarm(alarm_s)
        write_outcome(replies, stages.run(Source(request["name"], request["path"])))
        _alarm(0)


def _take_streams() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to the parent under new numbers; what anybody prints on standard output goes to standard error."""
    if sys.platform == "win32":
        import msvcrt

        for stream in (0, 1):
            msvcrt.setmode(stream, os.O_BINARY)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _silence() -> None:
    """Standard output and error to nowhere: C libraries print about broken files there."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.close(nothing)


def _limit_memory(limit_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: only the limits on file size and pixels hold there
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = limit_bytes if hard == resource.RLIM_INFINITY else min(hard, limit_bytes)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses a limit below what is mapped already
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _alarm(seconds: int) -> None:
    """SIGALRM after ``seconds`` ends the process, inside C code too; 0 calls it off."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


if __name__ == "__main__":
    main(sys.argv[1:])

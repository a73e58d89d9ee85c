"""One decoding child as its parent sees it: started, asked, killed when it takes too long, replaced when it dies."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

import gendet_cli
from gendet_cli.engine.frames import read_json, read_outcome, write_json
from gendet_cli.engine.job import Job
from gendet_cli.errors import ExitCode, GendetError, PluginError
from gendet_cli.types import Failure, Prepared, Source

__all__ = ["Child", "StartError"]

START_LIMIT_S = 120.0
GRACE_S = 2.0
PIPE_BYTES = 1 << 20  # where the system lets it be chosen: a picture's views take up to a few MB
# -P: the current folder may hold the scanned files, and nothing is ever imported from there. ROOT, where this very
# package lies, comes last, so that a checkout that is not installed works too and shadows nothing.
OPTIONS = ("-P", "-X", f"utf8={sys.flags.utf8_mode}")
BOOT = "import sys; sys.path.append(sys.argv[1]); from gendet_cli.engine.worker import main; main(sys.argv[2:])"
ROOT = str(Path(gendet_cli.__file__).resolve().parents[1])
STDERR_TAIL_CHARACTERS = 800
# What a broken pipe, a dead child's last words, or half a header come to.
GONE = (EOFError, OSError, json.JSONDecodeError, KeyError, TypeError, ValueError)


class StartError(GendetError):
    """A decoding child does not start: the installation is broken, not a picture."""

    exit_code = ExitCode.BROKEN


class Child:
    """A decoding process. One thread asks it at a time; any thread may :meth:`kill` it.

    Args:
        job: sent before the first request.
        time_limit_s: seconds a picture may take.

    Raises:
        PluginError: a plugin that was asked for is missing or broken.
        StartError: the process ends, or is silent for two minutes, before it says that it is ready.
    """

    def __init__(self, job: Job, time_limit_s: float) -> None:
        self._job, self._time_limit_s = job, time_limit_s
        self._lock = threading.Lock()
        self._killed = False
        self._start()

    def ask(self, source: Source) -> Prepared | Failure:
        """What became of one picture. A child that dies over it is replaced before the next one."""
        if self._process.poll() is not None:
            self._restart()
        with _Deadline(self._process, self._time_limit_s) as deadline:
            try:
                write_json(self._requests, {"name": source.name, "path": source.path})
                return read_outcome(self._replies, source)
            except GONE:
                code = self._last_code()
        if deadline.passed:
            return Failure(source, f"took longer than {self._time_limit_s:g} s to decode; make a smaller copy first")
        return Failure(source, _death(code))

    def close(self) -> None:
        """End the child: it is told first, and killed when it does not listen."""
        with self._lock:
            self._killed = True
        _close(self._requests)
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        _close(self._replies)

    def kill(self) -> None:
        """End the child at once, for good; a thread that waits for an answer gets a failure."""
        with self._lock:
            self._killed = True
            self._process.kill()
            self._process.wait()

    def _last_code(self) -> int | None:
        """Return code of a child that does not answer; None when it lives on, out of step, and is killed."""
        try:
            return self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None

    def _restart(self) -> None:
        _close(self._requests)
        _close(self._replies)
        self._start()

    def _start(self) -> None:
        command = [sys.executable, *OPTIONS, "-c", BOOT, ROOT, str(math.ceil(2 * self._time_limit_s) + 10)]
        with tempfile.TemporaryFile() as errors:
            with self._lock:
                if self._killed:
                    raise StartError("the decoders were closed")
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, pipesize=PIPE_BYTES
                )
            self._requests: Any = self._process.stdin
            self._replies: Any = self._process.stdout
            try:
                with _Deadline(self._process, START_LIMIT_S):
                    self._check_ready(errors)
            except GendetError:
                self.close()
                raise

    def _check_ready(self, errors: IO[bytes]) -> None:
        try:
            write_json(self._requests, self._job.to_json())
            answer: dict[str, str] = read_json(self._replies)
        except GONE as error:
            code = self._last_code()
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace").strip()[-STDERR_TAIL_CHARACTERS:]
            raise StartError(
                f"a decoder does not start (code {code}): {said or 'it said nothing'}",
                hint="the installation may be incomplete; reinstall gendet, and look at the plugins: `gendet plugins`",
            ) from error
        if "fault" in answer:
            raise PluginError(answer["fault"], hint=answer["hint"])


class _Deadline:
    """Kills a process unless the block ends first; ``passed`` says whether it did."""

    def __init__(self, process: subprocess.Popen[bytes], limit_s: float) -> None:
        self.passed = False
        self._process = process
        self._lock = threading.Lock()
        self._open = True
        self._timer = threading.Timer(limit_s, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:  # after this the process is safe, also when the timer is just firing
            self._open = False
        self._timer.cancel()

    def _expire(self) -> None:
        with self._lock:
            if self._open:
                self.passed = True
                self._process.kill()


def _close(stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # what was still buffered for a child that has gone
        stream.close()


def _death(code: int | None) -> str:
    """Why a child ended, by its return code (negative: a signal, on POSIX)."""
    if code is None:
        return "the decoder fell out of step on it"
    if code >= 0:
        return f"the decoder ended on it with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return "the decoder was killed (SIGKILL), perhaps by the system for want of memory"
    return f"the decoder crashed on it ({name})"

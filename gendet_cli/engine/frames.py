"""How the parent and a decoding child talk: length-prefixed frames of JSON and raw float32, never pickles.

A frame is its length in 8 bytes, little-endian, and that many bytes. The parent sends a job, then a request per
picture; the child answers the job with ``{}`` or a fault, and each request with a header frame and a frame of views.
JSON is written in ASCII, so that names that are not UTF-8 (lone surrogates) pass unharmed.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np

from gendet_cli.types import Evidence, Failure, Prepared, Source

__all__ = ["read_frame", "read_json", "read_outcome", "write_frame", "write_json", "write_outcome"]

LENGTH = struct.Struct("<Q")
MAX_FRAME_BYTES = 1 << 30
"""No honest frame is longer; a longer one means that the child has lost its senses."""


def write_frame(stream: BinaryIO, data: bytes) -> None:
    """Write one frame, without flushing."""
    stream.write(LENGTH.pack(len(data)))
    stream.write(data)


def read_frame(stream: BinaryIO) -> bytes:
    """Read one frame. Raises EOFError when the other side has gone or sends nonsense."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError("the stream ended")
    (length,) = LENGTH.unpack(head)
    if length > MAX_FRAME_BYTES:
        raise EOFError(f"a frame of {length} bytes was announced")
    data = stream.read(length)
    if len(data) < length:
        raise EOFError("the stream ended within a frame")
    return data


def write_json(stream: BinaryIO, values: Any) -> None:
    """Write plain values as one frame and flush."""
    write_frame(stream, json.dumps(values, ensure_ascii=True).encode("ascii"))
    stream.flush()


def read_json(stream: BinaryIO) -> Any:
    """Read one frame of plain values. Raises EOFError when there is none."""
    return json.loads(read_frame(stream))


def write_outcome(stream: BinaryIO, outcome: Prepared | Failure) -> None:
    """Write what became of a request: a header frame and a frame of views, little-endian float32."""
    header: dict[str, Any] = {"sha256": outcome.sha256, "format": outcome.format}
    views: list[memoryview] = []
    if isinstance(outcome, Prepared):
        header |= {
            "size": [outcome.width_px, outcome.height_px],
            "evidence": [asdict(entry) for entry in outcome.evidence],
            "shapes": [part.shape for part in outcome.views],
        }
        views = [np.ascontiguousarray(part, "<f4").data.cast("B") for part in outcome.views]
    else:
        header["reason"] = outcome.reason
    write_frame(stream, json.dumps(header, ensure_ascii=True).encode("ascii"))
    stream.write(LENGTH.pack(sum(len(part) for part in views)))
    for part in views:
        stream.write(part)
    stream.flush()


def read_outcome(stream: BinaryIO, source: Source) -> Prepared | Failure:
    """Read what became of the request for ``source``. Raises EOFError when the child has gone."""
    header, data = read_json(stream), read_frame(stream)
    if "reason" in header:
        return Failure(source, header["reason"], header["sha256"], header["format"])
    views, start = [], 0
    for shape in header["shapes"]:
        count = int(np.prod(shape))
        part = np.frombuffer(data, "<f4", count, 4 * start).reshape(shape)  # (V, 3, size, size)
        views.append(part.astype(np.float32, copy=False))
        start += count
    width_px, height_px = header["size"]
    evidence = tuple(Evidence(**entry) for entry in header["evidence"])
    return Prepared(source, header["sha256"], header["format"], width_px, height_px, evidence, tuple(views))

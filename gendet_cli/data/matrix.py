"""Rows of features that stay on disk: float16 parts, usually memory-mapped, read as float32 when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gendet_cli.types import Float32Array


@dataclass(frozen=True, slots=True)
class Matrix:
    """Features (N, D) that lie in parts (M_i, D); only what is indexed is ever in memory.

    Attributes:
        parts: arrays of the same width, memory-mapped or not.
        part: int32 (N,), in which part a row lies.
        row: int32 (N,), where in it.
    """

    parts: tuple[NDArray[Any], ...]
    part: NDArray[np.int32]
    row: NDArray[np.int32]

    @classmethod
    def of(cls, parts: Sequence[NDArray[Any]]) -> Matrix:
        """All rows of ``parts``, in order."""
        sizes = [len(part) for part in parts]
        part = np.repeat(np.arange(len(parts), dtype=np.int32), sizes)
        row = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
        return cls(tuple(parts), part, row)

    @classmethod
    def join(cls, matrices: Sequence[Matrix]) -> Matrix:
        """The rows of several matrices, one after the other."""
        starts = np.cumsum([0, *(len(matrix.parts) for matrix in matrices)])[:-1].astype(np.int32)
        return cls(
            tuple(part for matrix in matrices for part in matrix.parts),
            np.concatenate([matrix.part + start for matrix, start in zip(matrices, starts, strict=True)]),
            np.concatenate([matrix.row for matrix in matrices]),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return len(self.row), int(self.parts[0].shape[1])

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: Any) -> Matrix:
        """The rows of an index, a mask (N,) or a slice; nothing is read."""
        return Matrix(self.parts, self.part[index], self.row[index])

    def __getitem__(self, index: Any) -> Float32Array:
        """float32 (n, D), read from the parts."""
        part, row = self.part[index], self.row[index]
        out = np.empty((len(row), self.shape[1]), np.float32)
        for number in np.unique(part):
            mine = part == number
            out[mine] = self.parts[number][row[mine]]
        return out

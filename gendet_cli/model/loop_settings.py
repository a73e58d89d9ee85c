"""Settings of the loop that trains a whole network; apart from it, so that plugins can extend them without torch."""

from __future__ import annotations

from dataclasses import dataclass

OPTIMIZERS = ("adamw", "adam", "sgd")


@dataclass(frozen=True)
class LoopSettings:
    """What every end-to-end training can be told. Defaults are ours.

    Attributes:
        epochs: passes over all pictures.
        batch_size: pictures a step.
        optimizer: ``adamw``, ``adam`` or ``sgd`` (momentum 0.9).
        lr: learning rate, the same throughout.
        weight_decay: of the optimizer.
        threads: of the CPU. The order of additions, and so the bits, depend on it.
    """

    epochs: int = 2
    batch_size: int = 32
    optimizer: str = "adamw"
    lr: float = 1e-4
    weight_decay: float = 0.01
    threads: int = 1

    def problems(self) -> list[str]:
        """What is wrong with the values, a line each."""
        rules = {
            "epochs must be at least 0": self.epochs >= 0,
            "batch_size and threads must be at least 1": min(self.batch_size, self.threads) >= 1,
            f"optimizer is {self.optimizer!r}, not one of {', '.join(OPTIMIZERS)}": self.optimizer in OPTIMIZERS,
            "lr must be above 0": self.lr > 0,
        }
        return [rule for rule, holds in rules.items() if not holds]

    def __post_init__(self) -> None:
        if problems := self.problems():
            raise ValueError("; ".join(problems))

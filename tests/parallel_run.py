"""Run by torchrun from tests/test_parallel.py: gradients of one step, and a whole small schedule, saved by rank 0."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from test_schedule import SETTINGS, D, N, data

from gendet_cli.model import methods, parallel
from gendet_cli.model.training import Fit, Run, Stage, seeded


def main(folder: Path) -> None:
    """Everything is trained on the same data, whatever the number of processes."""
    torch.set_num_threads(1)
    x, is_fake = data()
    parts = {}
    for name, loss in stages(x).items():
        head = seeded(lambda: methods.build_teacher(SETTINGS, D), 7, "head")
        fit = Fit(x, is_fake, torch.arange(N), SETTINGS, head, 7, folder / "none", lambda _: None)
        stage = Stage(
            name,
            torch.arange(N),
            loss(head),
            torch.optim.SGD(head.parameters(), 1.0),
            head,
            balanced=name == "balanced",
        )
        Run(fit, {"head": head}, {}, N).backward(stage, x[:33], is_fake[:33])
        parts |= {f"{name}.{key}": p.grad.clone() for key, p in head.named_parameters()}
    head = seeded(lambda: methods.build_gendet(SETTINGS, D), 7, "head")
    checkpoint = folder / f"state-{parallel.place()[0]}.safetensors"
    methods.fit_gendet(Fit(x, is_fake, torch.arange(N), SETTINGS, head, 7, checkpoint, lambda _: None))
    discrepancy, logit = head.eval()(x)
    if parallel.place()[0] == 0:
        save_file({**parts, "discrepancy": discrepancy.detach(), "logit": logit.detach()}, folder / "out.safetensors")


def stages(x):
    """A loss with each class given half the weight, and one with each row the same."""
    from gendet_cli.model.losses import classification_loss, student_real_loss

    return {
        "balanced": lambda head: lambda x, y, w: classification_loss(head(x)[1], y, w),
        "even": lambda head: (
            lambda x, y, w: student_real_loss(head.teacher(x), torch.zeros(()), "mean", w) + 0 * head(x)[1].sum()
        ),
    }


if __name__ == "__main__":
    import os

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        parallel.join("cpu")
    main(Path(sys.argv[1]))
    parallel.leave()

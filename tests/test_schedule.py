"""The schedule: what each stage moves, in which order, and that a resumed run gives the same bits."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gendet_cli.model import methods, training
from gendet_cli.model.methods import GenDetSettings, LinearSettings
from gendet_cli.model.training import Epoch, Fit, Run, Speed, Stage, derived_seed, seeded

torch.set_num_threads(1)
N, D = 64, 16
SETTINGS = GenDetSettings(rotations=2, teacher_epochs=2, classifier_epochs=2, tokens=2, batch_size=24)
ROTATION = ["student-real", "student-fake", "augmenter"]
METHODS = {
    "gendet": (methods.build_gendet, methods.fit_gendet, ["teacher"] * 2 + ROTATION * 2 + ["classifier"] * 2),
    "ts-ad": (methods.build_gendet, methods.fit_ts_ad, ["teacher"] * 2 + ["student-real"] * 2 + ["classifier"] * 2),
    "ts-ad-fake": (
        methods.build_gendet,
        methods.fit_ts_ad_fake,
        ["teacher"] * 2 + ["student-real", "student-fake"] * 2 + ["classifier"] * 2,
    ),
    "teacher": (methods.build_teacher, methods.fit_teacher, ["teacher"] * 2),
}
MOVES = {
    "teacher": ("net.head.teacher.", "net.pooled."),
    "student-real": ("net.head.student.",),
    "student-fake": ("net.head.student.",),
    "augmenter": ("net.augmenter.",),
    "classifier": ("net.head.classifier.",),
}
Bits = dict[str, torch.Tensor]


def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Features (64, 16) and labels; fakes lie a little aside."""
    is_fake = (torch.arange(N) % 3 == 0).float()
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(5))
    x[:, 0] += 2 * is_fake
    return x, is_fake


@dataclass
class Trace:
    """What the progress callback saw, and the checkpoint's tensors after each epoch."""

    checkpoint: Path
    stop_at: int = 0
    calls: list[tuple[str, int, int, float]] = field(default_factory=list)
    tensors: list[Bits] = field(default_factory=list)
    measures: list[dict[str, float]] = field(default_factory=list)

    def __call__(self, told: Epoch) -> None:
        epoch = told.number
        self.calls.append((told.stage, epoch, told.of, told.loss))
        self.measures.append(dict(told.measures))
        if self.checkpoint.is_file():
            self.tensors.append({name: t.clone() for name, t in load_file(self.checkpoint).items()})
        if epoch == self.stop_at:
            raise KeyboardInterrupt

    @property
    def stages(self) -> list[str]:
        return [call[0] for call in self.calls]


def train(
    folder: Path, method: str = "gendet", *, stop_at: int = 0, seed: int = 7, **changes: Any
) -> tuple[Trace, Bits]:
    """Train on the tiny data and return the trace and the head's state."""
    folder.mkdir(exist_ok=True)
    build, run, _ = METHODS[method]
    settings = replace(SETTINGS, **changes)
    x, is_fake = data()
    head = seeded(lambda: build(settings, D), seed, "head")
    trace = Trace(folder / "state.safetensors", stop_at)
    run(Fit(x, is_fake, torch.arange(len(x)), settings, head, seed, trace.checkpoint, trace))
    return trace, {name: t.clone() for name, t in head.state_dict().items()}


def same(first: Bits, second: Bits) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def networks(tensors: Bits) -> Bits:
    return {name: t for name, t in tensors.items() if name.startswith("net.")}


@pytest.fixture(scope="module")
def gendet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, Bits]:
    return train(tmp_path_factory.mktemp("gendet"))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Trace, Bits]]:
    """Every method trained in one go, with dropout, so that the epochs' own randomness counts."""
    return {method: train(tmp_path_factory.mktemp(method), method, dropout=0.1) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_order_of_stages(method: str, tmp_path: Path) -> None:
    trace, _ = train(tmp_path, method)
    plan = METHODS[method][2]
    assert trace.stages == plan
    assert [call[1:3] for call in trace.calls] == [(index, len(plan)) for index in range(1, len(plan) + 1)]
    assert all(torch.isfinite(torch.tensor(call[3])) for call in trace.calls)


def test_order_of_stages_with_the_default_settings(tmp_path: Path) -> None:
    x, is_fake = data()
    settings = GenDetSettings(tokens=1)
    trace = Trace(tmp_path / "state.safetensors")
    methods.fit_gendet(
        Fit(x, is_fake, torch.arange(len(x)), settings, methods.build_gendet(settings, D), 1, trace.checkpoint, trace)
    )
    teacher, classifier = ["teacher"] * settings.teacher_epochs, ["classifier"] * settings.classifier_epochs
    assert trace.stages == teacher + ROTATION * 10 + classifier


def test_the_defaults_are_the_papers_where_it_gives_them() -> None:
    settings = GenDetSettings()
    assert (settings.margin, settings.alpha, settings.rotations) == (2.0, 0.1, 10)


@pytest.mark.parametrize("index", range(1, 10), ids=lambda i: f"{i}-{METHODS['gendet'][2][i]}")
def test_each_stage_moves_its_network_and_nothing_else(gendet: tuple[Trace, Bits], index: int) -> None:
    trace, _ = gendet
    before, after = (networks(trace.tensors[i]) for i in (index - 1, index))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    allowed = {name for name in before if name.startswith(MOVES[trace.stages[index]])}
    assert moved
    assert moved <= allowed
    for prefix in MOVES[trace.stages[index]]:
        assert any(name.startswith(prefix) for name in moved)


def test_the_first_epoch_moves_the_teacher_and_nothing_else(gendet: tuple[Trace, Bits]) -> None:
    head = seeded(lambda: methods.build_gendet(SETTINGS, D), 7, "head").state_dict()
    after = {
        name.removeprefix("net.head."): t for name, t in gendet[0].tensors[0].items() if name.startswith("net.head.")
    }
    assert head.keys() == after.keys()
    moved = {name.split(".")[0] for name in head if not torch.equal(head[name], after[name])}
    assert moved == {"teacher"}


def test_each_optimizer_steps_in_its_own_stages_only(gendet: tuple[Trace, Bits]) -> None:
    owner = {"student-real": "student", "student-fake": "student"}
    for index in range(1, len(gendet[0].tensors)):
        before, after = gendet[0].tensors[index - 1], gendet[0].tensors[index]
        moments = [name for name in after if name.startswith("opt.")]
        moved = {n.split(".")[1] for n in moments if n not in before or not torch.equal(before[n], after[n])}
        stage = gendet[0].stages[index]
        assert moved == {owner.get(stage, stage)}


def test_the_student_has_one_optimizer_that_runs_on(gendet: tuple[Trace, Bits]) -> None:
    fakes = int(data()[1].sum())
    batches = -(-(N - fakes) // 24) + -(-fakes // 24)
    steps = [
        t for name, t in gendet[0].tensors[-1].items() if name.startswith("opt.student.") and name.endswith(".step")
    ]
    assert {int(step) for step in steps} == {2 * batches}


def test_the_teacher_is_frozen_after_its_stage(gendet: tuple[Trace, Bits]) -> None:
    trace, head = gendet
    trained = trace.tensors[trace.stages.count("teacher") - 1]
    kept = {name: t for name, t in head.items() if name.startswith("teacher.")}
    assert kept
    assert all(torch.equal(trained[f"net.head.{name}"], t) for name, t in kept.items())


def test_the_augmenter_is_the_identity_until_its_first_stage(gendet: tuple[Trace, Bits]) -> None:
    trace, _ = gendet
    first = trace.stages.index("augmenter")
    before, after = (trace.tensors[i]["net.augmenter.project.weight"] for i in (first - 1, first))
    assert torch.equal(before, torch.zeros_like(before))
    assert after.abs().sum() > 0


def test_the_head_holds_no_augmenter_and_no_pooled_teacher_head(gendet: tuple[Trace, Bits]) -> None:
    assert {name.split(".")[0] for name in gendet[1]} == {"teacher", "student", "classifier"}
    assert not any(name.startswith("teacher.pooled") for name in gendet[1])


@pytest.mark.parametrize("method", ["ts-ad", "ts-ad-fake"])
def test_ablations_leave_the_augmenter_alone(method: str, tmp_path: Path) -> None:
    trace, _ = train(tmp_path, method)
    still = [{n: t for n, t in tensors.items() if n.startswith("net.augmenter.")} for tensors in trace.tensors]
    assert all(same(still[0], other) for other in still)


def student(head: Bits) -> Bits:
    return {name: t for name, t in head.items() if name.startswith("student.")}


@pytest.mark.parametrize("changes", [{"alpha": 1.0}, {"alpha": 0.01}, {"margin": 0.25}])
@pytest.mark.parametrize("method", ["gendet", "ts-ad-fake"])
def test_margin_and_alpha_change_the_students_step(method: str, changes: dict[str, float], tmp_path: Path) -> None:
    usual, changed = train(tmp_path / "a", method)[1], train(tmp_path / "b", method, **changes)[1]
    pairs = zip(student(usual).values(), student(changed).values(), strict=True)
    assert max((first - second).abs().max().item() for first, second in pairs) > 1e-5


def test_alpha_changes_the_step_although_adam_divides_by_the_gradients_scale(tmp_path: Path) -> None:
    """An optimizer of stage (b)'s own would cancel alpha; so the difference must be a good part of a step."""
    changes = {"rotations": 1, "batch_size": N, "weight_decay": 0.0}
    weights = [train(tmp_path / str(a), "ts-ad-fake", alpha=a, **changes)[0].tensors for a in (0.1, 1.0)]
    reals, fakes = ([tensors[i]["net.head.student.embed.weight"] for tensors in weights] for i in (2, 3))
    assert torch.equal(*reals)  # stage (a) knows nothing of alpha
    assert (fakes[0] - fakes[1]).abs().mean().item() > 0.05 * SETTINGS.student_lr


def test_margin_and_alpha_do_not_change_a_student_of_reals(tmp_path: Path) -> None:
    usual, changed = train(tmp_path / "a", "ts-ad")[1], train(tmp_path / "b", "ts-ad", alpha=1.0, margin=4.0)[1]
    assert same(usual, changed)


def test_margin_and_alpha_do_not_change_the_teacher(tmp_path: Path, gendet: tuple[Trace, Bits]) -> None:
    changed, _ = train(tmp_path, alpha=1.0, margin=4.0)
    assert same(networks(gendet[0].tensors[1]), networks(changed.tensors[1]))


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_bits_and_other_seed_other_bits(method: str, tmp_path: Path) -> None:
    first, again = train(tmp_path / "a", method), train(tmp_path / "b", method)
    other = train(tmp_path / "c", method, seed=8)
    assert same(first[1], again[1])
    assert first[0].calls == again[0].calls
    assert not same(first[1], other[1])


def test_the_seed_alone_orders_the_batches(tmp_path: Path, gendet: tuple[Trace, Bits]) -> None:
    torch.manual_seed(99)
    assert same(train(tmp_path)[1], gendet[1])


@pytest.mark.parametrize(
    ("method", "stop_at"), [(method, k) for method in METHODS for k in range(1, len(METHODS[method][2]) + 1)]
)
def test_interrupted_and_resumed_gives_the_same_bits(
    method: str, stop_at: int, uninterrupted: dict[str, tuple[Trace, Bits]], tmp_path: Path
) -> None:
    whole, expected = uninterrupted[method]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", method, stop_at=stop_at, dropout=0.1)
    rest, found = train(tmp_path / "cut", method, dropout=0.1)
    assert rest.calls == whole.calls[stop_at:]
    assert same(expected, found)
    assert same(load_file(whole.checkpoint), load_file(tmp_path / "cut" / "state.safetensors"))


def test_a_kill_while_saving_leaves_the_last_checkpoint(tmp_path: Path, gendet: tuple[Trace, Bits]) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, stop_at=4)
    (tmp_path / "state.partial").write_bytes(b"half a checkpoint")
    assert same(train(tmp_path)[1], gendet[1])
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


@pytest.mark.parametrize("changes", [{"seed": 8}, {"alpha": 0.5}, {"rotations": 3}])
def test_a_checkpoint_of_other_settings_or_seed_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, stop_at=3)
    kept = (tmp_path / "state.safetensors").read_bytes()
    with pytest.raises(ValueError, match="other settings"):
        train(tmp_path, **changes)
    assert (tmp_path / "state.safetensors").read_bytes() == kept


def test_a_checkpoint_of_data_of_another_size_is_refused(tmp_path: Path) -> None:
    trace, _ = train(tmp_path, "teacher")
    x, is_fake = data()
    fit = Fit(
        x[:-1],
        is_fake[:-1],
        torch.arange(len(x) - 1),
        SETTINGS,
        methods.build_teacher(SETTINGS, D),
        7,
        trace.checkpoint,
        trace,
    )
    with pytest.raises(ValueError, match="data"):
        methods.fit_teacher(fit)


def test_a_checkpoint_of_other_data_of_the_same_size_is_refused(tmp_path: Path) -> None:
    trace, _ = train(tmp_path, "teacher")
    x, is_fake = data()
    fit = Fit(
        x + 1, is_fake, torch.arange(len(x)), SETTINGS, methods.build_teacher(SETTINGS, D), 7, trace.checkpoint, trace
    )
    with pytest.raises(ValueError, match="data"):
        methods.fit_teacher(fit)


def test_a_checkpoint_of_another_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, "ts-ad", stop_at=3)
    with pytest.raises(ValueError, match="other"):
        train(tmp_path, "gendet")


def one_class(is_fake: float, run: Callable[[Fit], None], folder: Path) -> None:
    x, _ = data()
    head = methods.build_gendet(SETTINGS, D)
    run(
        Fit(
            x,
            torch.full((N,), is_fake),
            torch.arange(N),
            SETTINGS,
            head,
            7,
            folder / "state.safetensors",
            lambda *_: None,
        )
    )


@pytest.mark.parametrize("is_fake", [0.0, 1.0])
def test_data_of_one_class_is_an_error_and_never_a_head_of_nan(is_fake: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"real|fake"):
        one_class(is_fake, methods.fit_gendet, tmp_path)


def test_seeded_leaves_the_global_generator_as_it_was() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = seeded(lambda: torch.nn.Linear(2, 2), 1, "a")
    assert torch.equal(torch.rand(2), expected)
    assert same(first.state_dict(), seeded(lambda: torch.nn.Linear(2, 2), 1, "a").state_dict())
    assert not same(first.state_dict(), seeded(lambda: torch.nn.Linear(2, 2), 1, "b").state_dict())


def test_derived_seeds_differ_and_stay_the_same() -> None:
    assert derived_seed(7, "teacher", 0) == derived_seed(7, "teacher", 0)
    assert len({derived_seed(s, n, i) for s in (1, 2) for n in ROTATION for i in range(3)}) == 18
    assert 0 <= derived_seed("x") < 2**63


def test_training_tells_the_classes_apart(tmp_path: Path) -> None:
    x, is_fake = data()
    head = methods.build_gendet(SETTINGS, D)
    head.load_state_dict(train(tmp_path, teacher_epochs=5, classifier_epochs=10)[1])
    logit = head.eval()(x)[1]
    assert logit[is_fake == 1].mean() > logit[is_fake == 0].mean()


def test_the_linear_probe_is_scikit_learns(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    x, is_fake = data()
    head = methods.build_linear(LinearSettings(), D)
    calls: list[str] = []
    state = tmp_path / "state.safetensors"
    methods.fit_linear(
        Fit(x, is_fake, torch.arange(len(x)), LinearSettings(), head, 7, state, lambda epoch: calls.append(epoch.stage))
    )
    unit = (x / x.norm(dim=1, keepdim=True)).numpy()
    probe = LogisticRegression(class_weight="balanced", max_iter=5000).fit(unit, is_fake.numpy())
    expected = torch.from_numpy(probe.decision_function(unit)).float()
    torch.testing.assert_close(head(x)[1].detach(), expected, rtol=1e-4, atol=1e-4)
    assert len(calls) == 1


OPEN_POINTS = [
    {"feature_norm": "standard"},
    {"feature_norm": "none"},
    {"augmenter_form": "plain"},
    {"z_form": "mean"},
    {"pooling": "flatten"},
    {"reduction": "sum"},
    {"hinge": "batch"},
    {"student_start": "teacher"},
    {"student_optimizers": "two"},
    {"classifier_fakes": "augmented"},
    {"classifier_fakes": "both"},
    {"classifier_reals": "held-out"},
    {"augmenter_lr_ratio": 10.0},
    {"tokens": 1},
]


@pytest.mark.parametrize("changes", OPEN_POINTS, ids=lambda c: "-".join(map(str, *c.items())))
def test_every_open_point_changes_the_head_and_resumes(
    changes: dict[str, Any], gendet: tuple[Trace, Bits], tmp_path: Path
) -> None:
    whole = train(tmp_path / "a", **changes)[1]
    assert not same(whole, gendet[1])
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", stop_at=6, **changes)
    assert same(train(tmp_path / "b", **changes)[1], whole)


def test_wrong_choices_are_told_all_at_once() -> None:
    with pytest.raises(ValueError, match=r"hinge is 'both'.*margin lies"):
        GenDetSettings(hinge="both", margin=9)


def test_a_student_that_starts_as_its_teacher_has_no_first_loss_on_reals(tmp_path: Path) -> None:
    copied = train(tmp_path / "a", student_start="teacher", batch_size=N)[0].calls
    assert copied[2][0] == "student-real"
    assert copied[2][3] == pytest.approx(0, abs=1e-10)
    assert train(tmp_path / "b", batch_size=N)[0].calls[2][3] > 0.1


def test_held_out_reals_are_whole_pictures_that_the_student_never_saw() -> None:
    x, is_fake = data()
    settings = replace(SETTINGS, classifier_reals="held-out", held_out_share=0.25)
    picture = torch.arange(N) % (N // 2)  # two views of each, a half apart
    fit = Fit(x, is_fake, picture, settings, methods.build_gendet(settings, D), 7, Path(), lambda *_: None)
    reals = torch.arange(N)[is_fake == 0]
    kept, shown = methods._reals_of(fit, reals)
    assert sorted([*kept.tolist(), *shown.tolist()]) == reals.tolist()
    assert not set(picture[kept].tolist()) & set(picture[shown].tolist())
    assert len(picture[shown].unique()) == round(0.25 * len(picture[reals].unique()))


def test_frozen_networks_use_no_dropout(tmp_path: Path) -> None:
    """A frozen teacher gives the same output whatever the epoch's seed; in training mode dropout would change it."""
    losses = []
    for seed in (1, 2):
        settings = replace(SETTINGS, dropout=0.5)
        x, is_fake = data()
        head: Any = seeded(lambda s=settings: methods.build_gendet(s, D), 7, "head")
        fit = Fit(x, is_fake, torch.arange(N), settings, head, seed, tmp_path / str(seed), lambda *_: None)
        stage = Stage(
            "probe",
            torch.arange(N),
            lambda x, y, w, h=head: h.teacher(x).square().mean() + 0 * h.student(x).mean(),
            torch.optim.AdamW(head.student.parameters(), lr=0.0),
            head.student,
        )
        losses.append(Run(fit, {"head": head}, {}, N)._epoch(stage, 0))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_log_shows_whether_the_adversary_works(gendet: tuple[Trace, Bits]) -> None:
    trace, _ = gendet
    first = trace.stages.index("augmenter")
    steps = [measures["augmenter_step"] for measures in trace.measures]
    assert set(steps[:first]) == {0.0}
    assert steps[first] > 0
    for measures in trace.measures:
        for label in ("real", "fake"):
            assert 0 < measures[f"d_{label}_p10"] <= measures[f"d_{label}_p50"] <= measures[f"d_{label}_p90"]


def test_a_set_beyond_the_window_is_shuffled_in_blocks_and_seen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BLOCK_ROWS", 4)
    monkeypatch.setattr(training, "WINDOW_BYTES", 4 * D * 4 * 3)  # three blocks
    rows, (_, is_fake) = torch.arange(0, N, 2), data()
    x = torch.arange(N).float().unsqueeze(1).repeat(1, D)
    fit = Fit(x, is_fake, torch.arange(N), SETTINGS, torch.nn.Identity(), 7, Path(), lambda *_: None)
    torch.manual_seed(1)
    batches = list(training._batches(fit, rows, 5))
    seen = [int(value) for part, _ in batches for value in part[:, 0]]
    assert sorted(seen) == rows.tolist()
    assert seen != rows.tolist()
    assert max(len(part) for part, _ in batches) == 5
    assert all(torch.equal(y, is_fake[part[:, 0].long()]) for part, y in batches)


def test_every_window_of_a_large_set_has_both_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets list one class after the other; an epoch must not end on batches of one."""
    monkeypatch.setattr(training, "BLOCK_ROWS", 4)
    monkeypatch.setattr(training, "WINDOW_BYTES", 4 * 10 * 4)  # ten blocks of one value a row
    x, is_fake = torch.arange(4 * 33).float().unsqueeze(1), (torch.arange(4 * 33) >= 4 * 15).float()
    fit = Fit(x, is_fake, torch.arange(len(x)), SETTINGS, torch.nn.Identity(), 7, Path(), lambda *_: None)
    for seed in range(20):
        torch.manual_seed(seed)
        batches = list(training._batches(fit, torch.arange(len(x)), 1000))  # one a window
        assert sorted(int(value) for part, _ in batches for value in part[:, 0]) == list(range(len(x)))
        assert len(batches) == 4
        assert all(0.3 < y.mean() < 0.8 for _, y in batches)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo's own looking
def test_what_a_gpu_does_otherwise_runs_and_lands_nearby(tmp_path: Path) -> None:
    """Mixed precision and a compiled network on the CPU, as far as that reaches; pinned memory needs a GPU."""
    plain, other = (tmp_path / name for name in ("plain", "other"))
    heads = []
    for place, speed in ((plain, Speed()), (other, Speed("cpu", mixed_precision=True, compiled="eager"))):
        x, is_fake = data()
        head = seeded(lambda: methods.build_gendet(SETTINGS, D), 7, "head")
        place.mkdir()
        trace = Trace(place / "state.safetensors")
        methods.fit_gendet(Fit(x, is_fake, torch.arange(N), SETTINGS, head, 7, trace.checkpoint, trace, speed))
        heads.append(dict(load_file(trace.checkpoint)))
    assert heads[0].keys() == heads[1].keys()
    moved = [(heads[0][name] - heads[1][name]).abs().max().item() for name in heads[0] if name.startswith("net.")]
    assert 0 < max(moved) < 0.02
    assert Speed.on("cuda:1") == Speed("cuda:1", mixed_precision=True, compiled="inductor", pinned=True)
    assert Speed.on("cpu") == Speed()


@pytest.mark.parametrize("changes", [{"student_lr": -1.0}, {"alpha": float("nan")}, {"weight_decay": float("inf")}])
def test_rates_that_cannot_train_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="finite"):
        GenDetSettings(**changes)
    with pytest.raises(ValueError, match="c must be"):
        LinearSettings(c=-1.0)


def test_measures_are_those_of_inference_whatever_the_dropout(tmp_path: Path) -> None:
    trace, head = train(tmp_path, dropout=0.5)
    x, is_fake = data()
    network = methods.build_gendet(replace(SETTINGS, dropout=0.5), D)
    network.load_state_dict(head)
    d = network.eval()(x[is_fake == 1])[0]
    assert trace.measures[-1]["d_fake_p50"] == pytest.approx(d.quantile(0.5).item(), rel=1e-4)


def test_a_hinge_of_the_batch_is_refused_for_several_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training.parallel, "place", lambda: (0, 2))
    with pytest.raises(ValueError, match="hinge=batch"):
        train(tmp_path, hinge="batch")


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"state\.safetensors is damaged"):
        train(tmp_path)

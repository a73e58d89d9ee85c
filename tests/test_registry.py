"""The registry over real entry points: distributions written to disk, found as anybody's plugin is."""

import importlib
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from PIL import Image

import gendet_cli
from gendet_cli.errors import ExitCode, PluginError
from gendet_cli.plugin.registry import Registry
from gendet_cli.types import Evidence, Sample, Source

BUILT_IN = {"clip", "methods"}
SAMPLE = Sample(Source("a.png", "a.png"), b"", "0" * 64, "PNG", Image.new("RGB", (2, 2)))
BACKBONE = """
    from gendet_cli.plugin.api import BackboneSpec, hookimpl

    @hookimpl
    def gendet_backbones():
        return [BackboneSpec({name!r}, "a test", lambda variant, runtime: None)]
"""
METHOD = """
    from gendet_cli.plugin.api import MethodSpec, hookimpl

    @hookimpl
    def gendet_methods():
        return [MethodSpec({name!r}, "a test", dict, lambda s, d: None, lambda fit: None)]
"""
EVIDENCE = """
    from gendet_cli.plugin.api import Evidence, hookimpl

    @hookimpl
    def gendet_evidence(sample):
        {body}
"""


class Site:
    """A folder on sys.path into which distributions are installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def install(self, plugin: str, source: str, *, distribution: str = "", version: str = "1.2.3") -> None:
        """A distribution whose one entry point ``plugin`` is a module of ``source``."""
        name = distribution or f"stranger-{plugin}"
        module = name.replace("-", "_") + "_module"
        (self.folder / f"{module}.py").write_text(dedent(source), encoding="utf-8")
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[gendet]\n{plugin} = {module}\n", encoding="utf-8")
        self.modules.append(module)
        importlib.invalidate_caches()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    place = Site(tmp_path)
    yield place
    for module in place.modules:
        sys.modules.pop(module, None)


def test_the_built_in_plugins_are_found_by_their_entry_points() -> None:
    registry = Registry()
    assert registry.plugins.keys() >= BUILT_IN
    for name in BUILT_IN:
        info = registry.plugins[name]
        assert (info.name, info.version, info.broken) == (name, gendet_cli.__version__, "")
    assert registry.plugins["clip"].hooks == ("gendet_backbones",)
    assert registry.plugins["clip"].offers == ("backbone clip",)
    assert registry.backbone("clip").name == "clip"


def test_the_ladder_and_its_baseline_are_methods_by_name() -> None:
    registry = Registry(["methods"])
    discrepancy = {name: registry.method(name).has_discrepancy for name in registry.methods}
    students = {"gendet": True, "ts-ad": True, "ts-ad-fake": True}
    assert discrepancy == students | {"teacher": False, "univfd-linear": False, "univfd-knn": False}


def test_a_strangers_plugin_is_like_our_own(site: Site) -> None:
    site.install("strange", BACKBONE.format(name="resnet"), version="9.8")
    registry = Registry()
    info = registry.plugins["strange"]
    assert (info.version, info.hooks, info.offers, info.broken) == (
        "9.8",
        ("gendet_backbones",),
        ("backbone resnet",),
        "",
    )
    assert registry.backbone("resnet").summary == "a test"
    assert registry.plugins.keys() >= BUILT_IN


BROKEN = {
    "import": (
        "import a_library_that_is_not_there",
        "ModuleNotFoundError: No module named 'a_library_that_is_not_there'",
    ),
    "syntax": ("def f(:", "SyntaxError"),
    "crash": ("raise RuntimeError('boom')", "RuntimeError: boom"),
    "misspelt": (BACKBONE.format(name="x").replace("gendet_backbones", "gendet_backbone"), "gendet_backbone"),
    "argument": (EVIDENCE.format(body="return []").replace("(sample)", "(picture)"), "picture"),
    "offer": (BACKBONE.format(name="x").replace("return [", "1 / 0; return ["), "ZeroDivisionError"),
    "nothing": (BACKBONE.format(name="x").replace("return [", "["), "TypeError"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_named_and_skipped(kind: str, site: Site) -> None:
    source, reason = BROKEN[kind]
    site.install("strange", source)
    site.install("zebra", BACKBONE.format(name="resnet"))
    registry = Registry()
    info = registry.plugins["strange"]
    assert reason in info.broken
    assert (info.name, info.version, info.hooks, info.offers) == ("strange", "1.2.3", (), ())
    assert registry.backbone("clip")
    assert registry.backbone("resnet"), "a plugin after the broken one is loaded"
    assert not registry.plugins["zebra"].broken
    assert "x" not in registry.backbones
    assert not [e for e in registry.inspect(SAMPLE) if e.plugin == "strange"]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_fatal_when_it_was_asked_for(kind: str, site: Site) -> None:
    source, reason = BROKEN[kind]
    site.install("strange", source)
    with pytest.raises(PluginError, match="plugin strange is broken") as raised:
        Registry(["clip", "strange"])
    assert reason in raised.value.message
    assert raised.value.exit_code == ExitCode.BROKEN
    assert raised.value.hint


def test_a_broken_plugin_is_no_matter_when_others_were_asked_for(site: Site) -> None:
    site.install("strange", "raise RuntimeError('boom')")
    assert Registry(["clip"]).plugins.keys() == {"clip"}


def test_a_broken_plugin_is_named_where_its_backbone_is_missed(site: Site) -> None:
    site.install("strange", "raise RuntimeError('boom')")
    with pytest.raises(PluginError, match="'resnet'") as raised:
        Registry().backbone("resnet")
    assert "clip" in raised.value.hint
    assert "strange (RuntimeError: boom)" in raised.value.hint


def test_a_broken_plugin_that_raises_an_error_of_ours_is_skipped_too(site: Site) -> None:
    site.install("strange", "from gendet_cli.plugin.api import PluginError\nraise PluginError('needs a licence')")
    assert "needs a licence" in Registry().plugins["strange"].broken


def test_a_broken_plugin_that_leaves_by_the_door_is_skipped_too(site: Site) -> None:
    site.install("strange", "import sys\nsys.exit(0)")
    assert "SystemExit" in Registry().plugins["strange"].broken


def test_a_broken_plugin_leaves_nothing_it_offered(site: Site) -> None:
    site.install("strange", BACKBONE.format(name="resnet").replace("None)]", "None), 'no spec']"))
    registry = Registry()
    assert registry.plugins["strange"].broken
    assert "resnet" not in registry.backbones


def test_a_plugin_without_hooks_offers_nothing(site: Site) -> None:
    site.install("strange", "x = 1")
    assert Registry(["strange"]).plugins["strange"].offers == ()


@pytest.mark.parametrize("pinned", [None, ["ant", "bee"]])
@pytest.mark.parametrize("source", [BACKBONE, METHOD])
def test_two_plugins_that_offer_one_name_are_both_named(source: str, pinned: list[str] | None, site: Site) -> None:
    site.install("ant", source.format(name="resnet"))
    site.install("bee", source.format(name="resnet"))
    with pytest.raises(PluginError, match="ant and bee both offer 'resnet'") as raised:
        Registry(pinned)
    assert "GENDET_PLUGINS" in raised.value.hint
    assert Registry(["bee"]).plugins.keys() == {"bee"}


def test_nobody_takes_the_name_of_a_built_in_backbone(site: Site) -> None:
    site.install("zebra", BACKBONE.format(name="clip"))
    with pytest.raises(PluginError, match="clip and zebra both offer 'clip'"):
        Registry()


def test_two_plugins_of_one_name_are_an_error(site: Site) -> None:
    site.install("strange", BACKBONE.format(name="a"), distribution="first")
    site.install("strange", BACKBONE.format(name="b"), distribution="second")
    with pytest.raises(PluginError, match="two installed plugins are called 'strange'"):
        Registry()


def test_pinning_loads_those_alone(site: Site) -> None:
    site.install("strange", "raise SystemExit('never imported')")
    registry = Registry(["methods", "clip"])
    assert registry.plugins.keys() == {"clip", "methods"}
    assert "stranger_strange_module" not in sys.modules


def test_pinning_none_loads_none() -> None:
    registry = Registry([])
    assert (registry.plugins, registry.backbones, registry.methods) == ({}, {}, {})
    assert registry.inspect(SAMPLE) == ()


def test_a_pinned_plugin_that_is_missing_is_an_error() -> None:
    with pytest.raises(PluginError, match="plugin not installed: nowhere, yonder") as raised:
        Registry(["yonder", "clip", "nowhere"])
    assert raised.value.exit_code == ExitCode.BROKEN
    assert "GENDET_PLUGINS" in raised.value.hint


@pytest.mark.parametrize("kind", ["backbone", "method"])
def test_a_name_nobody_offers_is_an_error_that_lists_the_known(kind: str) -> None:
    registry = Registry()
    with pytest.raises(PluginError, match=f"no plugin offers a {kind} called 'reznet'") as raised:
        getattr(registry, kind)("reznet")
    assert {"backbone": "clip", "method": "ts-ad"}[kind] in raised.value.hint


def test_evidence_is_collected_by_plugin_name_and_a_crash_is_evidence(site: Site) -> None:
    site.install("ant", EVIDENCE.format(body="return [Evidence('ant', 'Format', sample.format)]"))
    site.install("bee", EVIDENCE.format(body="raise OSError('no such tag')"))
    site.install("cow", EVIDENCE.format(body="return [Evidence('cow', 'Name', sample.source.name, kind='claim')]"))
    registry = Registry(["cow", "bee", "ant"])
    assert registry.plugins["bee"].offers == ("evidence bee",)
    assert registry.inspect(SAMPLE) == (
        Evidence("ant", "Format", "PNG"),
        Evidence("bee", "error", "OSError: no such tag", kind="error"),
        Evidence("cow", "Name", "a.png", kind="claim"),
    )


@pytest.mark.parametrize("body", ["return None", "return 3"])
def test_evidence_that_is_no_list_is_an_error_of_its_plugin(body: str, site: Site) -> None:
    site.install("ant", EVIDENCE.format(body=body))
    (found,) = Registry(["ant"]).inspect(SAMPLE)
    assert (found.plugin, found.kind) == ("ant", "error")
    assert "TypeError" in found.value


def test_evidence_of_another_type_is_an_error_of_its_plugin(site: Site) -> None:
    site.install("ant", EVIDENCE.format(body="return ['text']"))
    (found,) = Registry(["ant"]).inspect(SAMPLE)
    assert (found.plugin, found.kind) == ("ant", "error")

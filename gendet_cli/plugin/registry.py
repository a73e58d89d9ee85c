"""Finds plugins by their entry points, keeps count of the broken ones, and looks things up by name."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import pluggy

from gendet_cli.errors import PluginError
from gendet_cli.plugin import hookspecs
from gendet_cli.plugin.specs import BackboneSpec, MethodFamily, MethodSpec
from gendet_cli.types import Evidence, Sample

ENTRY_POINT_GROUP = "gendet"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One plugin as ``gendet plugins`` shows it; ``broken`` says why it could not be used, or is empty."""

    name: str
    version: str
    hooks: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    broken: str = ""


class Registry:
    """The plugins of one run.

    Args:
        pinned: names of the only plugins to load, or None for all that are installed.

    Raises:
        PluginError: a pinned plugin is missing or broken, or two plugins offer one name.
    """

    def __init__(self, pinned: Iterable[str] | None = None) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self.plugins: dict[str, PluginInfo] = {}
        self.backbones: dict[str, tuple[str, BackboneSpec]] = {}
        self.methods: dict[str, tuple[str, MethodSpec | MethodFamily]] = {}
        wanted = None if pinned is None else set(pinned)
        for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
            if wanted is None or entry.name in wanted:
                self._load(entry)
        if wanted is not None:
            self._require(wanted)

    def _load(self, entry: importlib.metadata.EntryPoint) -> None:
        if entry.name in self.plugins:
            raise PluginError(
                f"two installed plugins are called {entry.name!r}",
                hint="uninstall one, or pin others by GENDET_PLUGINS",
            )
        version = entry.dist.version if entry.dist else "?"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pluggy.PluggyWarning)
                plugin = entry.load()
                self._manager.register(plugin, entry.name)
                self._manager.check_pending()
            info, backbones, methods = self._describe(entry.name, version)
        except (Exception, SystemExit) as error:  # noqa: BLE001  a broken plugin is named and skipped
            if self._manager.has_plugin(entry.name):
                self._manager.unregister(name=entry.name)
            self.plugins[entry.name] = PluginInfo(entry.name, version, broken=f"{type(error).__name__}: {error}")
            return
        self.plugins[entry.name] = info
        for backbone in backbones:
            _claim(self.backbones, entry.name, backbone.name, backbone)
        for method in methods:
            _claim(self.methods, entry.name, method.name, method)

    def _describe(
        self, name: str, version: str
    ) -> tuple[PluginInfo, list[BackboneSpec], list[MethodSpec | MethodFamily]]:
        plugin: Any = self._manager.get_plugin(name)
        hooks = tuple(sorted(caller.name for caller in self._manager.get_hookcallers(plugin) or ()))
        backbones = _all(plugin.gendet_backbones(), BackboneSpec) if "gendet_backbones" in hooks else []
        methods: list[MethodSpec | MethodFamily] = []
        if "gendet_methods" in hooks:
            methods = _all(plugin.gendet_methods(), MethodSpec, MethodFamily)
        offers = tuple(f"backbone {spec.name}" for spec in backbones)
        offers += tuple(
            f"method {spec.name}:…" if isinstance(spec, MethodFamily) else f"method {spec.name}" for spec in methods
        )
        if "gendet_evidence" in hooks:
            offers += (f"evidence {name}",)
        return PluginInfo(name, version, hooks, offers), backbones, methods

    def _require(self, wanted: set[str]) -> None:
        missing = sorted(wanted - self.plugins.keys())
        if missing:
            raise PluginError(
                f"plugin not installed: {', '.join(missing)}",
                hint="`gendet plugins` lists what is; check GENDET_PLUGINS",
            )
        for info in self.plugins.values():
            if info.broken:
                raise PluginError(f"plugin {info.name} is broken: {info.broken}", hint="repair it or do not ask for it")

    def backbone(self, name: str) -> BackboneSpec:
        """The family called ``name`` (without variant). Raises PluginError if no usable plugin offers it."""
        return self._lookup(self.backbones, "backbone", name)

    def method(self, name: str) -> MethodSpec:
        """The method called ``name``, or ``family:variant``. Raises PluginError if no usable plugin offers it."""
        family, colon, variant = name.partition(":")
        found = self._lookup(self.methods, "method", family)
        if isinstance(found, MethodFamily):
            if not variant:
                raise PluginError(f"the method {family} needs a variant", hint=f"for example {found.example}")
            return found.method(variant)
        if colon:
            raise PluginError(f"the method {family} has no variant {variant!r}", hint=f"write {family} alone")
        return found

    def _lookup(self, table: dict[str, tuple[str, T]], kind: str, name: str) -> T:
        if name in table:
            return table[name][1]
        broken = [f"{info.name} ({info.broken})" for info in self.plugins.values() if info.broken]
        hint = f"known: {', '.join(sorted(table)) or 'none (see GENDET_PLUGINS)'}" + (
            f"; broken plugins: {', '.join(broken)}" if broken else ""
        )
        raise PluginError(f"no plugin offers a {kind} called {name!r}", hint=hint)

    def inspect(self, sample: Sample) -> tuple[Evidence, ...]:
        """Everything the evidence plugins find, by plugin name; a crashed plugin leaves evidence of kind ``error``."""
        found: list[Evidence] = []
        for name, info in self.plugins.items():
            if "gendet_evidence" not in info.hooks:
                continue
            try:
                plugin: Any = self._manager.get_plugin(name)
                found.extend(_all(plugin.gendet_evidence(sample=sample), Evidence))
            except Exception as error:  # noqa: BLE001  one plugin's crash must not cost the picture its row
                found.append(Evidence(name, "error", f"{type(error).__name__}: {error}", kind="error"))
        return tuple(found)


def _all(values: Iterable[Any], *kinds: type[Any]) -> list[Any]:
    """``values`` as a list. Raises TypeError if one is of no such kind: a plugin's promise is checked once, here."""
    found = list(values)
    for value in found:
        if not isinstance(value, kinds):
            raise TypeError(f"returned {type(value).__name__}, not {' or '.join(kind.__name__ for kind in kinds)}")
    return found


def _claim(table: dict[str, tuple[str, T]], plugin: str, name: str, spec: T) -> None:
    if name in table:
        raise PluginError(
            f"plugins {table[name][0]} and {plugin} both offer {name!r}", hint="pin one of them by GENDET_PLUGINS"
        )
    table[name] = (plugin, spec)

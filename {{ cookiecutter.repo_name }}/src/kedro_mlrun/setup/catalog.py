"""Which catalog entries can become MLRun's, and their text then."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from kedro.io import CatalogConfigResolver

from .init import Edit

METRICS = re.compile(r"(metric|score|accurac|evaluation)[^.]*$")
MODEL = re.compile(r"(model|classifier|regressor|estimator)s?(_?v?\d+)?$")
# A CSV file may be that of a series, which is no data frame.
SERIES = re.compile(r"(^|[._])(y|target|label)s?(_[^.]*)?$")
KEPT = ("type", "versioned", "metadata", "validator")
# What lets an entry be read, or be kept, as MLRun's datasets wouldn't do it.
SPECIFIC = {"load_args", "credentials", "fs_args"}


def edits(texts: Mapping[str, str], pipelines: Mapping[str, Any]) -> list[Edit]:
    """Plan how the entries change that pipelines make and that MLRun has a dataset for."""
    catalogs = {file: yaml.safe_load(text) or {} for file, text in texts.items()}
    entries = {name: entry for catalog in catalogs.values() for name, entry in catalog.items()}
    made = _made([name for name in entries if isinstance(entries[name], dict)], pipelines)
    found = []
    for file, catalog in catalogs.items():
        for name in made & set(catalog):
            entry, own = catalog[name], _own(name, catalog[name])
            edit = Edit(file, *_lines(name, entry, own, texts[file]))
            kept = {key: entry[key] for key in KEPT if key in entry}
            wanted = {**catalog, name: {**kept, **(yaml.safe_load("\n".join(own)) or {})}}
            # Not where an anchor, or another way to write it, makes the edit change more or less.
            if own and edit.old and yaml.safe_load(edit.apply(texts[file])) == wanted:
                found.append(edit)
    return sorted(found, key=lambda edit: texts[edit.file].index(str(edit.old)))


def _made(entries: list[str], pipelines: Mapping[str, Any]) -> set[str]:
    """Tell which entries nodes make, and which never are data from outside."""
    patterns = CatalogConfigResolver(
        dict.fromkeys(entries, {"type": "MemoryDataset"}),
        default_runtime_patterns={"{default}": {"type": "MemoryDataset"}},
    )
    nodes = {node for pipeline in pipelines.values() for node in pipeline.nodes}
    outputs = {name for node in nodes for name in node.outputs}
    inputs = {name for node in nodes for name in node.inputs} - outputs
    made, raw = (
        {name if name in entries else str(patterns.match_dataset_pattern(name)) for name in names}
        for names in (outputs, inputs)
    )
    return made - raw


def _own(name: str, entry: dict[str, Any]) -> list[str]:
    """Give an entry's new type, and what it needs beside it; nothing for one that stays."""
    path = str(entry.get("filepath"))
    if "://" in path or "@" in name or SPECIFIC & set(entry):
        return []
    match str(entry.get("type")).removeprefix("kedro_datasets."):
        case "pandas.CSVDataset" if SERIES.search(name):
            return []
        case "pandas.CSVDataset" | "pandas.ParquetDataset":
            return ["type: kedro_mlrun.MLRunDataframeDataset"]
        case "json.JSONDataset" | "yaml.YAMLDataset" if METRICS.search(name):
            return ["type: kedro_mlrun.MLRunResult", "flatten: true"]
        case "pickle.PickleDataset" if MODEL.search(name) or "models/" in path:
            return ["type: kedro_mlrun.MLRunModel"]
    return []


def _lines(name: str, entry: dict[str, Any], own: list[str], text: str) -> tuple[str, str]:
    """Find an entry's lines, and edit those that change; comments and order stay."""
    pattern = rf"""(?:\A|\n)["']?{re.escape(name)}["']? *:.*\n(?: .*\n?|\r?\n)+"""
    found = re.search(pattern, text)
    old = new = found[0] if found else ""
    for key in set(entry) - set(KEPT):
        # With the deeper lines, or the list, below it.
        new = re.sub(rf"(?m)^( +){re.escape(key)} *:.*\n?(\1[ -].*\n?)*", "", new)
    kind = re.search(r"(?m)^( +)type *: *[^\s#]+", new)
    if kind:
        new = new.replace(kind[0], kind[1] + f"\n{kind[1]}".join(own), 1)
    return old, new

"""Whether a search that was stopped asks the same question when it goes on."""

import hashlib
import json
from collections.abc import Iterator

from kedro.io import CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline

from ..datasets.versions import of_uri
from ..jobs.parameters import JobParameters
from ..records.summaries import Record, uid_of
from ..runs.dataset import innermost, run_dataset
from ..runs.provenance import file_of, parameters, plain, shortened, taken
from ..store.errors import is_not_found
from ..store.fields import OWN, SEARCH, flatten, producer, section
from ..text import shown
from .config import SearchError


def file_hashes(pipeline: Pipeline, catalog: CatalogProtocol) -> dict[str, str]:
    """Give the hashes of the files on this machine that a pipeline begins with."""
    hashes = {}
    for name in sorted(pipeline.inputs()):
        dataset = catalog.get(name)
        if not run_dataset(dataset) and (file := file_of(innermost(dataset))):
            with file.open("rb") as opened:
                hashes[name] = hashlib.file_digest(opened, "sha256").hexdigest()
    return hashes


def check_unchanged(run: Record, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Refuse to go on with a search whose trials would have other parameters or data now."""
    asked = json.loads(section(run, "metadata", "annotations")[SEARCH])
    searched = tuple(f"{name}." for name in asked["config"]["parameters"])
    parameters, before = section(run, "spec", "parameters"), asked.get("files", {})
    now = file_hashes(pipeline, catalog) if before else {}
    changed = [
        *_changed_parameters(parameters, searched, pipeline, catalog),
        *(f"the data of '{name}' have changed" for name in before if before[name] != now.get(name)),
    ]
    if changed:
        raise SearchError(
            f"Search {uid_of(run)[:8]} can't go on, for its trials would not compare: "
            f"{', '.join(changed)}. Change that back, or begin another search, without --resume."
        )


def _changed_parameters(
    before: Record, searched: tuple[str, ...], pipeline: Pipeline, catalog: CatalogProtocol
) -> Iterator[str]:
    feed = {name: catalog.load(name) for name in pipeline.inputs() if is_parameter(name)}
    flat = flatten(plain(taken(feed, pipeline)))
    now = shortened(parameters(flat, {}), f"{OWN}parameters")
    names = sorted((before.keys() | now.keys()) - JobParameters.model_fields.keys())
    names = [name for name in names if not f"{name}.".startswith((OWN, *searched))]
    # None are recorded where mlrun.yml says so.
    for name in names if before.keys() & {*names} else ():
        if name not in before or name not in now:
            yield f"{name} is {'no parameter any more' if name in before else 'a new parameter'}"
        elif before[name] != now[name]:
            yield f"{name} was {shown(before[name])} and is {shown(now[name])}"


def versions_then(run: Record, pipeline: Pipeline, catalog: CatalogProtocol) -> dict[str, str]:
    """Give, of what a search has loaded of earlier runs, the id of the run that it was of."""
    loaded, versions = section(run, "spec", "inputs"), dict[str, str]()
    for name in sorted(pipeline.inputs()):
        dataset = run_dataset(catalog.get(name))
        if dataset and (uri := loaded.get(dataset.key)):
            try:
                record = of_uri(uri, run["metadata"]["project"], with_tag=False)
            except Exception as error:
                if not is_not_found(error):
                    raise
                raise SearchError(
                    f"Search {uid_of(run)[:8]} can't go on, for the version of '{name}' that it "
                    "has loaded is deleted. Begin another search, without --resume."
                ) from error
            versions[name] = producer(record)
    return {name: version for name, version in versions.items() if version}

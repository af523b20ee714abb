"""MLRun's interface on the embedded store: its lists, and artifacts, tags, functions, projects."""

import json
from collections.abc import Callable
from functools import partialmethod, wraps
from inspect import isfunction, signature
from typing import Any, cast

import mlrun
from mlrun import errors, utils
from mlrun.artifacts.base import fill_artifact_object_hash
from mlrun.common.formatters import ArtifactFormat, FunctionFormat, ProjectFormat
from mlrun.common.schemas import ArtifactCategories, TagObjects
from mlrun.db import RunDBInterface
from mlrun.db.httpdb import HTTPRunDB
from mlrun.lists import ArtifactList
from mlrun.projects import MlrunProject

from .rows import LATEST, JobQueue, Record, Rows, Where, now, utc


def active(project: str | None) -> str:
    """Give a project's name, that of the active one where there is none."""
    return cast(str, project or mlrun.mlconf.active_project or "default")


def as_dict(value: Any) -> Record:
    """Copy one of MLRun's objects, or a dict, as a dict of JSON's types alone."""
    to_dict = getattr(value, "to_dict", None) or getattr(value, "dict", None)
    return cast(Record, json.loads(utils.dict_to_json(to_dict() if to_dict else value)))


def as_mlrun(method: Callable[..., Any]) -> Any:
    """Let a method take the arguments of MLRun's client; those that it doesn't have, it refuses."""

    @wraps(getattr(HTTPRunDB, method.__name__.lstrip("_")))
    def call(self: Rows, *args: Any, **kwargs: Any) -> Any:
        return method(self, **_given(self, method, args, kwargs))

    call.__doc__ = method.__doc__
    return call


def _given(self: Rows, method: Callable[..., Any], args: Any, kwargs: Record) -> Record:
    """Give the arguments that aren't MLRun's defaults by their names, and always a project."""
    name = method.__name__.lstrip("_")
    theirs, own = signature(getattr(HTTPRunDB, name)), signature(method).parameters
    given = dict(theirs.bind(self, *args, **kwargs).arguments)
    for argument, value in [*given.items()][1:]:
        if value is None or value == theirs.parameters[argument].default:
            del given[argument]
        # Lists refuse by themselves what isn't one of their filters.
        elif argument not in own and "query" not in own:
            raise self.needs_api(f"'{argument}' of '{name}'")
    if "project" in theirs.parameters:
        given["project"] = active(given.get("project"))
    del given["self"]
    return given


def pages(find: Callable[..., Any]) -> Any:
    """Make a method that gives a page of a list, and the next one's token or None."""

    @wraps(getattr(HTTPRunDB, f"paginated{find.__name__}"))
    def list_page(self: Rows, *args: Any, **kwargs: Any) -> tuple[list[Record], str | None]:
        page, size, token = (kwargs.pop(name, None) for name in ("page", "page_size", "page_token"))
        # The token is the query, for no server keeps it.
        size = size or mlrun.mlconf.httpdb.pagination.default_page_size
        first = [_given(self, find, args, kwargs), 1, size]
        query, following, size = json.loads(token) if token else first
        page = page or following
        # One more than a page holds tells whether there is a next one.
        found = find(self, **query, limit=size + 1, offset=(page - 1) * size)
        if len(found) <= size:
            return found, None
        return type(found)(found[:size]), json.dumps([query, page + 1, size], default=str)

    return list_page


def _refuse(self: Rows, name: str, /, *_args: Any, **_kwargs: Any) -> Any:
    raise self.needs_api(f"'{name}'")


# Every public method of MLRun's clients, refusing; those that are supported override it.
# Made from the installed MLRun's own list, so that a method of a later release refuses as well.
_ApiOnly = type(
    "_ApiOnly",
    (RunDBInterface,),
    {
        name: partialmethod(_refuse, name)
        for client in (RunDBInterface, HTTPRunDB)
        for name, member in vars(client).items()
        if isfunction(member) and not name.startswith("_")
    },
)


class Interface(JobQueue, _ApiOnly):  # type: ignore[misc, valid-type]
    """What a store has of MLRun's interface, but for runs and their logs."""

    def create_project(self, project: Any) -> MlrunProject:
        """Create a project that isn't there."""
        body = as_dict(project)
        name = body["metadata"]["name"]
        with self.transaction():
            if not self.insert_project(body):
                raise errors.MLRunConflictError(f"Project {name} already exists")
        return self.get_project(name)

    def store_project(self, name: str, project: Any) -> MlrunProject:
        """Create a project or replace it."""
        body = as_dict(project)
        body.setdefault("metadata", {})["name"] = name
        with self.transaction() as connection:
            if not self.insert_project(body):
                values = (json.dumps(body), name)
                connection.execute("UPDATE projects SET body = ? WHERE name = ?", values)
        return self.get_project(name)

    def get_project(self, name: str) -> MlrunProject:
        """Read a project."""
        for (body,) in self.select("body FROM projects", Where("name = ?", name)):
            return MlrunProject.from_dict(json.loads(body))
        raise errors.MLRunNotFoundError(f"Project {name} not found")

    @as_mlrun
    def list_projects(self, format_: str = ProjectFormat.name_only) -> list[Any]:
        """List the projects by name: their names, or the whole projects with `format_="full"`."""
        names = [row["name"] for row in self.select("name FROM projects", Where(), "ORDER BY name")]
        return names if format_ == ProjectFormat.name_only else [*map(self.get_project, names)]

    @as_mlrun
    def store_artifact(
        self,
        key: str,
        artifact: Any,
        project: str,
        iter: int = 0,
        tag: str = LATEST,
        tree: str | None = None,
    ) -> Record:
        """Write an artifact's record, and make it the latest of its key; give it as written."""
        body = as_dict(artifact)
        metadata, spec = body.setdefault("metadata", {}), body.setdefault("spec", {})
        if body.get("kind") == ArtifactCategories.link:
            self._mark_best_iteration(key, metadata, spec, project)
            return body
        tag = tag or LATEST
        utils.validate_tag_name(tag, "artifact.metadata.tag")
        utils.validate_artifact_key_name(key, "artifact.key")
        metadata["key"] = metadata.get("key") or key
        metadata["project"] = metadata.get("project") or project
        uid = fill_artifact_object_hash(body, iter, tree)
        body["kind"] = body.get("kind") or "artifact"
        spec["db_key"] = spec.get("db_key") or key
        metadata["created"] = str(metadata.get("created") or now())
        metadata["updated"] = now()
        # Tags have a table of their own: they move between versions.
        metadata.pop("tag", None)
        with self.transaction():
            # As in MLRun's API, a new version becomes the latest; to store it again only tags it.
            where = Where("project = ? AND key = ? AND uid = ?", project, key, uid)
            known = self.select("1 FROM artifacts", where)
            owner = self.write(
                "artifacts",
                {"project": project, "key": key, "uid": uid},
                body,
                tree=tree or metadata.get("tree") or "",
                iteration=iter,
                best_iteration=not iter,
                kind=body["kind"],
                producer_uri=(spec.get("producer") or {}).get("uri") or "",
                created=utc(metadata["created"]),
                updated=utc(metadata["updated"]),
            )
            for name in {tag} if known else {tag, LATEST}:
                self._tag(owner, name)
        metadata["tag"] = tag
        return body

    def _tag(self, owner: int, tag: str) -> None:
        (this,) = self.select("* FROM artifacts", Where("id = ?", owner))
        project, key = this["project"], this["key"]
        tags = Where("tag = ? AND tag_project = ? AND tag_key = ?", tag, project, key)
        # A tag names one version of a key; only the iterations of one tree share it.
        same = (
            "SELECT id FROM artifacts WHERE project = ? AND tree = ? AND key = ? AND iteration != ?"
        )
        tags.add(f"owner NOT IN ({same})", project, this["tree"], key, this["iteration"])
        self.delete("artifact_tags", tags)
        row = (owner, tag, project, key)
        self.connection.execute("INSERT INTO artifact_tags VALUES (?, ?, ?, ?)", row)

    def _mark_best_iteration(self, key: str, metadata: Record, spec: Record, project: str) -> None:
        key, best = spec.get("link_key") or key, spec.get("link_iteration")
        tree = spec.get("link_tree") or metadata.get("tree") or ""
        where = Where("project = ? AND key = ? AND tree = ?", project, key, tree)
        with self.transaction() as connection:
            rows = self.select("id, iteration FROM artifacts", where)
            if best not in {row["iteration"] for row in rows}:
                raise errors.MLRunNotFoundError(f"Iteration {best} of {project}/{key} not found")
            connection.executemany(
                "UPDATE artifacts SET best_iteration = ? WHERE id = ?",
                [(row["iteration"] == best, row["id"]) for row in rows],
            )

    @as_mlrun
    def read_artifact(self, format_: str | None = None, **query: Any) -> Record:
        """Read an artifact's record: the latest where neither tag, tree nor uid tells which."""
        return cast(Record, ArtifactFormat.format_obj(self.find_artifact(**query), format_))

    def _list_artifacts(self, format_: str | None = None, **query: Any) -> ArtifactList:
        """List artifacts' records, last updated first; one of several tags comes once for each."""
        found = self.find_artifacts(**query)
        return ArtifactList(ArtifactFormat.format_obj(body, format_) for body in found)

    list_artifacts = as_mlrun(_list_artifacts)
    paginated_list_artifacts = pages(_list_artifacts)

    @as_mlrun
    def del_artifact(
        self, key: str, project: str, tag: str = "", tree: str = "", uid: str = "", iter: Any = None
    ) -> None:
        """Delete the records of a key, all of its versions if nothing tells which; files stay."""
        where = Where("project = ? AND key = ?", project, key).tagged(tag, project, key)
        with self.transaction():
            self.delete("artifacts", where.equal(tree=tree, uid=uid, iteration=iter))

    @as_mlrun
    def list_artifact_tags(self, project: str) -> list[str]:
        """List the tags that artifacts of a project have, each once."""
        where = Where().equal(tag_project=project)
        return [
            row["tag"]
            for row in self.select("DISTINCT tag FROM artifact_tags", where, "ORDER BY tag")
        ]

    @as_mlrun
    def tag_objects(self, project: str, tag_name: str, objects: Any) -> None:
        """Tag artifacts instead of other versions."""
        utils.validate_tag_name(tag_name, "tag")
        with self.transaction():
            for owner in self._identified(project, objects):
                self._tag(owner, tag_name)

    @as_mlrun
    def delete_objects_tag(self, project: str, tag_name: str, tag_objects: Any) -> None:
        """Take a tag away from artifacts."""
        with self.transaction():
            for owner in self._identified(project, tag_objects):
                self.delete("artifact_tags", Where("owner = ? AND tag = ?", owner, tag_name))

    # They call the two above.
    tag_artifacts = HTTPRunDB.tag_artifacts
    delete_artifacts_tags = HTTPRunDB.delete_artifacts_tags

    def _identified(self, project: str, objects: TagObjects | Record) -> list[int]:
        objects = objects if isinstance(objects, TagObjects) else TagObjects(**objects)
        owners = []
        for which in objects.identifiers:
            where = Where().equal(project=project, key=which.key, uid=which.uid)
            where.equal(tree=which.producer_id, kind=which.kind, iteration=which.iter)
            owners += [row["id"] for row in self.select("id FROM artifacts", where)]
        return owners

    @as_mlrun
    def store_function(
        self, function: Any, name: str, project: str, tag: str = LATEST, versioned: bool = False
    ) -> str:
        """Write a function and give its hash; `versioned` keeps earlier ones."""
        name, tag, body = utils.normalize_name(name), tag or LATEST, as_dict(function)
        hash_key = cast(str, utils.fill_function_hash(body, tag))
        body["metadata"]["updated"] = now()
        with self.transaction() as connection:
            stored_hash = hash_key if versioned else f"unversioned-{tag}"
            owner = self.write(
                "functions",
                {"project": project, "name": name, "hash": stored_hash},
                body,
                kind=body.get("kind") or "",
                state=(body.get("status") or {}).get("state") or "",
                updated=body["metadata"]["updated"],
            )
            connection.execute(
                "INSERT INTO function_tags (owner, tag, tag_project, tag_name) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (tag_project, tag_name, tag) DO UPDATE SET owner = excluded.owner",
                (owner, tag, project, name),
            )
        return hash_key

    @as_mlrun
    def get_function(
        self, name: str, project: str, tag: str | None = None, hash_key: str = ""
    ) -> Record:
        """Read a function: the latest where neither tag nor hash tells which."""
        name, tag = utils.normalize_name(name), None if hash_key and not tag else tag or LATEST
        for body in self.find_functions(name=name, project=project, tag=tag):
            if not hash_key or body["metadata"].get("hash") == hash_key:
                return body
        uri = utils.generate_object_uri(project, name, tag, hash_key)
        raise errors.MLRunNotFoundError(f"Function {uri} not found")

    @as_mlrun
    def delete_function(self, name: str, project: str) -> None:
        """Delete a function, where there is one, with all of its versions."""
        where = Where("project = ? AND name = ?", project, utils.normalize_name(name))
        with self.transaction():
            self.delete("functions", where)

    def _list_functions(self, format_: str | None = None, **query: Any) -> list[Record]:
        """List functions, last updated first; one of several tags comes once for each."""
        found = self.find_functions(**query)
        return [FunctionFormat.format_obj(body, format_) for body in found]

    list_functions = as_mlrun(_list_functions)
    paginated_list_functions = pages(_list_functions)

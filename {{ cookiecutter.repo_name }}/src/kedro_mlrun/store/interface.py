"""MLRun's interface on the embedded store: its lists, and artifacts, tags, functions, projects."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partialmethod, wraps
from inspect import isfunction, signature
from typing import Any, cast

import mlrun
from mlrun import errors, utils
from mlrun.artifacts.base import fill_artifact_object_hash
from mlrun.common.formatters import ArtifactFormat, FunctionFormat, ProjectFormat
from mlrun.common.schemas import ArtifactCategories, DeletionStrategy, TagObjects
from mlrun.common.schemas.artifact import ArtifactsDeletionStrategies
from mlrun.db import RunDBInterface
from mlrun.db.httpdb import HTTPRunDB
from mlrun.lists import ArtifactList
from mlrun.projects import MlrunProject

from .fields import delete_data
from .rows import LATEST, JobQueue, Record, Rows, Where, label_list, now, utc

ALL_DAYS = 36_500  # so many that nothing which was recorded is older


def active(project: str | None) -> str:
    """Give a project's name, that of the active one where there is none."""
    return cast(str, project or mlrun.mlconf.active_project or "default")


def as_dict(value: Any) -> Record:
    """Copy one of MLRun's objects, or a dict, as a dict of JSON's types alone."""
    to_dict = getattr(value, "to_dict", None) or getattr(value, "dict", None)
    return cast(Record, json.loads(utils.dict_to_json(to_dict() if to_dict else value)))


def by_name(method: Callable[..., Any]) -> Any:
    """Let a method that takes a dict take the arguments of MLRun's client."""
    like = getattr(HTTPRunDB, method.__name__.lstrip("_"))

    @wraps(like)
    def call(self: Rows, *args: Any, **kwargs: Any) -> Any:
        return method(self, _query(like, args, kwargs))

    call.__doc__ = method.__doc__
    return call


def _query(like: Callable[..., Any], args: Any, kwargs: Record) -> Record:
    query = dict(signature(like).bind(None, *args, **kwargs).arguments)
    del query["self"]
    return query | {"project": active(query.get("project"))}


def pages(find: Callable[..., Any]) -> Any:
    """Make a method that gives a page of a list, and the next one's token or None."""
    like = getattr(HTTPRunDB, find.__name__.lstrip("_"))

    @wraps(getattr(HTTPRunDB, f"paginated{find.__name__}"))
    def list_page(self: Rows, *args: Any, **kwargs: Any) -> tuple[list[Record], str | None]:
        page, size, token = (kwargs.pop(name, None) for name in ("page", "page_size", "page_token"))
        # The token is the query, for no server keeps it.
        try:
            query, following, size = json.loads(token) if token else ({}, 1, size)
        except ValueError as exc:
            raise errors.MLRunNotFoundError(f"Page token {token} not found") from exc
        query = query or _query(like, args, kwargs)
        size = size or mlrun.mlconf.httpdb.pagination.default_page_size
        page = following if page is None else page
        if page < 1 or size < 1:
            raise errors.MLRunInvalidArgumentError(f"There is no page {page} of {size} items")
        # One more than a page holds tells whether there is a next one.
        found = find(self, query | {"limit": size + 1, "offset": (page - 1) * size})
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

    @by_name
    def list_projects(self, query: Record) -> list[Any]:
        """List the projects by name: their names, or the whole projects with `format_="full"`."""
        wanted, found = {*label_list(query.get("labels"))}, []
        for row in self.select("body FROM projects", Where(), "ORDER BY name"):
            project = MlrunProject.from_dict(json.loads(row["body"]))
            if (
                wanted <= {*project.metadata.labels, *label_list(project.metadata.labels)}
                and query.get("owner") in {None, "", project.spec.owner}
                and query.get("state") in {None, "", project.status.state}
            ):
                found.append(project)
        if query.get("format_", ProjectFormat.name_only) == ProjectFormat.name_only:
            return [project.metadata.name for project in found]
        return found

    @by_name
    def delete_project(self, query: Record) -> None:
        """Delete a project, where there is one, an empty one unless the strategy is `cascade`."""
        name, where = query["name"], Where("project = ?", query["name"])
        strategy = DeletionStrategy(query.get("deletion_strategy") or DeletionStrategy.default())
        tables = ("runs", "artifacts", "functions")
        with self.transaction():
            for table in () if strategy.is_cascading() else tables:
                if self.select(f"id FROM {table}", where, "LIMIT 1"):
                    raise errors.MLRunPreconditionFailedError(
                        f"Project {name} can not be deleted since related resources found: {table}"
                    )
            if strategy == DeletionStrategy.check:
                return
            for table in (*tables, "logs"):
                self.delete(table, where)
            self.delete("projects", Where("name = ?", name))
        for log in self.log_file("", name).parent.glob("*.log"):
            log.unlink(missing_ok=True)

    @by_name
    def store_artifact(self, query: Record) -> Record:
        """Write an artifact's record, and make it the latest of its key; give it as written."""
        project, key, body = query["project"], query["key"], as_dict(query["artifact"])
        tag, tree, iter = query.get("tag") or LATEST, query.get("tree"), query.get("iter")
        metadata, spec = body.setdefault("metadata", {}), body.setdefault("spec", {})
        if body.get("kind") == ArtifactCategories.link:
            self._mark_best_iteration(key, metadata, spec, project)
            return body
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
                iteration=iter or 0,
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
        # A tag names one version of a key; only the iterations of one tree share it.
        self.connection.execute(
            "DELETE FROM artifact_tags WHERE tag = :tag AND (tag_project, tag_key) ="
            " (SELECT project, key FROM artifacts WHERE id = :owner) AND owner NOT IN"
            " (SELECT other.id FROM artifacts other, artifacts this WHERE this.id = :owner"
            "  AND other.project = this.project AND other.key = this.key"
            "  AND other.tree = this.tree AND other.iteration != this.iteration)",
            {"tag": tag, "owner": owner},
        )
        self.connection.execute(
            "INSERT INTO artifact_tags (owner, tag, tag_project, tag_key)"
            " SELECT id, ?, project, key FROM artifacts WHERE id = ?",
            (tag, owner),
        )

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

    @by_name
    def read_artifact(self, query: Record) -> Record:
        """Read an artifact's record: the latest where neither tag, tree nor uid tells which."""
        found = self.find_artifact(query)
        return cast(Record, ArtifactFormat.format_obj(found, query.get("format_")))

    def _list_artifacts(self, query: Record) -> ArtifactList:
        """List artifacts' records, last updated first; one of several tags comes once for each."""
        if query.get("best_iteration") and query.get("iter") is not None:
            raise errors.MLRunInvalidArgumentError("`best_iteration` and `iter` exclude each other")
        format_ = query.pop("format_", None)
        found = self.find_artifacts(query)
        return ArtifactList(ArtifactFormat.format_obj(body, format_) for body in found)

    list_artifacts = by_name(_list_artifacts)
    paginated_list_artifacts = pages(_list_artifacts)

    @by_name
    def del_artifact(self, query: Record) -> None:
        """Delete the records of a key, all of its versions if nothing tells which.

        With `deletion_strategy`, files too: `data-optional` those that it can, `data-force` all.
        """
        strategy = ArtifactsDeletionStrategies(query.get("deletion_strategy", "metadata-only"))
        project, key = query["project"], query["key"]
        where = Where("project = ? AND key = ?", project, key).equal(iteration=query.get("iter"))
        where.equal(tree=query.get("tree"), uid=query.get("uid"))
        where.tagged(query.get("tag"), project, key)
        ignored = () if strategy == ArtifactsDeletionStrategies.data_force else (Exception,)
        with self.transaction():
            rows = self.select("body FROM artifacts", where)
            self.delete("artifacts", where)
            for row in rows if strategy != ArtifactsDeletionStrategies.metadata_only else ():
                # Before the records are gone for good.
                with suppress(*ignored):
                    delete_data(json.loads(row["body"]))

    @by_name
    def del_artifacts(self, query: Record) -> None:
        """Delete artifacts' records; the files stay."""
        project = query["project"]
        where = self.where("artifacts", query).equal(tree=query.get("tree"))
        since = datetime.now(UTC) - timedelta(days=query.get("days_ago") or ALL_DAYS)
        where.tagged(query.get("tag"), project).between("updated", since)
        with self.transaction():
            self.delete("artifacts", where)

    @by_name
    def list_artifact_tags(self, query: Record) -> list[str]:
        """List the tags that artifacts of a project have, each once."""
        where = Where().equal(project=query["project"]).of_category(query.get("category"))
        tags = "DISTINCT tag FROM artifact_tags JOIN artifacts ON id = owner"
        return [row["tag"] for row in self.select(tags, where, "ORDER BY tag")]

    @by_name
    def tag_objects(self, query: Record) -> None:
        """Tag artifacts instead of other versions; with `replace` they lose others but `latest`."""
        tag = query["tag_name"]
        utils.validate_tag_name(tag, "tag")
        with self.transaction():
            for owner in self._identified(query["project"], query["objects"]):
                if query.get("replace"):
                    self.delete("artifact_tags", Where("owner = ? AND tag != ?", owner, LATEST))
                self._tag(owner, tag)

    @by_name
    def delete_objects_tag(self, query: Record) -> None:
        """Take a tag away from artifacts."""
        with self.transaction():
            for owner in self._identified(query["project"], query["tag_objects"]):
                where = Where("owner = ? AND tag = ?", owner, query["tag_name"])
                self.delete("artifact_tags", where)

    # They call the two above.
    tag_artifacts = HTTPRunDB.tag_artifacts
    delete_artifacts_tags = HTTPRunDB.delete_artifacts_tags

    def _identified(self, project: str, objects: TagObjects | Record) -> list[int]:
        objects = objects if isinstance(objects, TagObjects) else TagObjects(**objects)
        owners = []
        for which in objects.identifiers:
            where = Where().equal(project=active(project), key=which.key, uid=which.uid)
            where.equal(tree=which.producer_id, kind=which.kind, iteration=which.iter)
            owners += [row["id"] for row in self.select("id FROM artifacts", where)]
        return owners

    @by_name
    def store_function(self, query: Record) -> str:
        """Write a function and give its hash; `versioned` keeps earlier ones."""
        name, project = utils.normalize_name(query["name"]), query["project"]
        tag, body = query.get("tag") or LATEST, as_dict(query["function"])
        hash_key = cast(str, utils.fill_function_hash(body, tag))
        body["metadata"]["updated"] = now()
        stored_hash = hash_key if query.get("versioned") else f"unversioned-{tag}"
        with self.transaction() as connection:
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

    def get_function(
        self, name: str, project: str = "", tag: str | None = None, hash_key: str = ""
    ) -> Record:
        """Read a function: the latest where neither tag nor hash tells which."""
        name, tag = utils.normalize_name(name), None if hash_key and not tag else tag or LATEST
        for body in self.find_functions({"name": name, "project": active(project), "tag": tag}):
            if not hash_key or body["metadata"].get("hash") == hash_key:
                return body
        uri = utils.generate_object_uri(active(project), name, tag, hash_key)
        raise errors.MLRunNotFoundError(f"Function {uri} not found")

    def delete_function(self, name: str, project: str = "") -> None:
        """Delete a function, where there is one, with all of its versions."""
        where = Where("project = ? AND name = ?", active(project), utils.normalize_name(name))
        with self.transaction():
            self.delete("functions", where)

    def _list_functions(self, query: Record) -> list[Record]:
        """List functions, last updated first; one of several tags comes once for each."""
        format_ = query.pop("format_", None)
        found = self.find_functions(query)
        return [FunctionFormat.format_obj(body, format_) for body in found]

    list_functions = by_name(_list_functions)
    paginated_list_functions = pages(_list_functions)

"""A stand-in for MLRun's API that keeps all in an embedded store: for tests that run on both."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from stub_api import StubAPI, serving

# What the client calls otherwise in a request than as an argument.
ARGUMENTS = {"label": "labels", "state": "states", "object-uid": "uid", "format": "format_"}
NUMBERS = {"iter", "limit", "page", "page-size", "partition-rows", "rows-per-partition"}
LISTS = {"label", "state", "states", "uid"}
FLAGS = {"sort", "best-iteration", "versioned", "with-notifications"}


def arguments(query: dict[str, str]) -> dict[str, Any]:
    """Give the arguments of MLRun's client of which a request was made."""
    given: dict[str, Any] = {}
    for name, text in query.items():
        value: Any = int(text) if name in NUMBERS and text.isdigit() else text
        value = value in {"yes", "True"} if name in FLAGS else value
        value = value.split(",") if name in LISTS and value else value
        given[ARGUMENTS.get(name, name.replace("-", "_"))] = value
    return given


class StoreAPI(StubAPI):
    """Answers from an embedded store, whose methods are those of MLRun's client."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        # MLRun is slow to import, and not all tests need it.
        from mlrun.errors import MLRunHTTPStatusError  # noqa: PLC0415

        from kedro_mlrun.store.db import LocalRunDB  # noqa: PLC0415
        from kedro_mlrun.store.rows import Where  # noqa: PLC0415

        self.where = Where
        self.refusals = MLRunHTTPStatusError
        self.db: Any = LocalRunDB(f"sqlite:///{folder}/api.db")
        own = {
            r"v\d/projects/?([^/]*)": "answer_project",
            r"v1/projects/([^/]+)/runs/([^/]+)": "answer_run",
            r"v1/projects/([^/]+)/runs": "answer_runs",
            r"v2/projects/([^/]+)/artifacts/([^/]+)": "answer_artifact",
            r"v2/projects/([^/]+)/artifacts": "answer_artifacts",
            r"v1/projects/([^/]+)/artifact-tags": "answer_tags",
            r"v1/projects/([^/]+)/tags/([^/]+)": "answer_tag",
            r"v1/projects/([^/]+)/logs/([^/]+)(/size)?": "answer_log",
            r"v1/projects/([^/]+)/functions/?([^/]*)": "answer_function",
        }
        self.routes = {**own, **self.routes, **own}

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        """What is said to a request; what the store refuses, it refuses."""
        try:
            said = super().answer(method, path, query, body)
        except self.refusals as error:
            return HTTPStatus(error.error_status_code), str(error)
        except Exception as error:  # without an answer, MLRun's client asks again for minutes
            return HTTPStatus.BAD_REQUEST, repr(error)
        if isinstance(said, dict):
            # MLRun's API has null for numbers that JSON has not.
            return json.loads(json.dumps(said, default=str), parse_constant=lambda _: None)
        return said

    def answer_project(self, method: str, name: str, query: Any, body: Any) -> Any:
        if method == "DELETE":
            self.db.delete_project(name)
            return HTTPStatus.NO_CONTENT
        if method == "POST":
            return self.db.create_project(body).to_dict()
        if method == "PUT":
            return self.db.store_project(name, body).to_dict()
        if not name:
            found = self.db.list_projects(**arguments(query))
            return {"projects": [it if isinstance(it, str) else it.to_dict() for it in found]}
        return self.db.get_project(name).to_dict()

    def answer_run(self, method: str, project: str, uid: str, query: Any, body: Any) -> Any:
        iteration = int(query.get("iter", 0))
        if method == "GET":
            return {"data": self.db.read_run(uid, project, iteration)}
        if method == "DELETE":
            self.db.del_run(uid, project, iteration)
        if method == "POST":
            self.db.store_run(body, uid, project, iteration)
        if method == "PATCH":
            self.db.update_run(body, uid, project, iteration)
        return {}

    def answer_runs(self, method: str, project: str, query: Any, _: Any) -> Any:
        given = arguments(query)
        if method == "DELETE":
            self.db.del_runs(project=project, **given)
            return {}
        given["iter"] = query.get("iter") == "yes"
        for name in [name for name in given if "partition" in name]:
            del given[name]
        if "partition-by" in query and "page-token" not in query:
            # The newest of each name, which MLRun's client asks for where it is given no filter.
            asked = {name: given[name] for name in ("start_time_from", "iter")}
            found = self.db.list_runs(project=project, **asked)
            newest = [*{run["metadata"]["name"]: run for run in found[::-1]}.values()][::-1]
            start = (given["page"] - 1) * given["page_size"]
            return {"runs": newest[start : start + given["page_size"]]}
        found, token = self.page("list_runs", project, given)
        return {"runs": list(found), "pagination": {"page-token": token}}

    def page(self, what: str, project: str, given: dict[str, Any]) -> tuple[Any, str | None]:
        if {"page", "page_token"} & given.keys():
            found, token = getattr(self.db, f"paginated_{what}")(project=project, **given)
            return found, token
        return getattr(self.db, what)(project=project, **given), None

    def answer_artifact(self, method: str, project: str, key: str, query: Any, body: Any) -> Any:
        given = arguments(query) | {"project": project, "key": key}
        if method == "PUT":
            return self.db.store_artifact(artifact=body, **given)
        if method == "DELETE":
            self.db.del_artifact(**given)
            return {}
        return self.db.read_artifact(**given)

    def answer_artifacts(self, method: str, project: str, query: Any, _: Any) -> Any:
        given = arguments(query)
        if method == "DELETE":
            self.db.del_artifacts(project=project, **given)
            return {}
        found, token = self.page("list_artifacts", project, given)
        return {"artifacts": list(found), "pagination": {"page-token": token}}

    def answer_tags(self, _: str, project: str, query: Any, __: Any) -> Any:
        tags = self.db.list_artifact_tags(project, **arguments(query))
        return {"project": project, "tags": tags}

    def answer_tag(self, method: str, project: str, tag: str, _: Any, body: Any) -> Any:
        if method == "DELETE":
            self.db.delete_objects_tag(project, tag, body)
        else:
            self.db.tag_objects(project, tag, body, replace=method == "POST")
        return {}

    def answer_log(
        self, method: str, project: str, uid: str, size: str | None, query: Any, body: Any
    ) -> Any:
        if method == "POST":
            self.db.store_log(uid, project, body, append=query.get("append") == "yes")
            return {}
        if size:
            return {"size": self.db.get_log_size(uid, project)}
        state, text = self.db.get_log(uid, project, int(query["offset"]), int(query["size"]))
        return text, {"x-mlrun-run-state": state}

    def answer_function(self, method: str, project: str, name: str, query: Any, body: Any) -> Any:
        given = arguments(query)
        if method == "POST":
            return {"hash_key": self.db.store_function(body, name, project, **given)}
        if name:
            return {"func": self.db.get_function(name, project, **given)}
        where = self.where("project = ?", project)
        return {"funcs": self.db.records("functions", where, "updated DESC, id DESC")}


@contextmanager
def store_api(folder: Path) -> Iterator[StoreAPI]:
    """Give an API that keeps what it is sent in a folder, until the block ends."""
    with serving(StoreAPI(folder)) as api:
        yield api

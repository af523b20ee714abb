"""An alias of a model, such as `champion`, given to another version: recorded, and undone.

Each promotion and each rollback is a run. It says what is meant before the alias moves, and how it
went afterwards.
"""

import re
import uuid
from collections.abc import Mapping
from typing import Any

import click
import psutil

from ..project import ModelsConfig
from ..records.records import LAST, RecordNotFoundError, Records, check_tag
from ..records.summaries import Record, artifact_key, summary, uid_of
from ..secrets.known import hide
from ..store.context import new_record
from ..store.fields import PROCESS, PROMOTION, artifact_uid, artifact_uri, producer
from ..store.process import process_label
from ..store.rows import LATEST, now
from ..store.store import Store
from .gates import Verdict, judge
from .versions import CHAMPION, ModelError, holder, load_model, model_version

_ID = re.compile("[0-9a-f]{32}|[0-9a-f]{40}")  # of a run or of a version
REASON = "reason"  # an annotation of the run
MEANWHILE = "was given to another version meanwhile"


class Move:
    """An alias's move to another version of a model.

    Args:
        action: `promote` or `rollback`, the name of the run that records it.
        candidate: the version that is to have the alias.
        previous: the version that has it now, if one has.
    """

    def __init__(
        self, records: Records, action: str, candidate: Record, previous: Record | None, alias: str
    ) -> None:
        self._records, self.action = records, action
        self.candidate, self.previous, self.alias = candidate, previous, alias
        self.key, self._versions = artifact_key(candidate), {"candidate": candidate}
        if previous:
            self._versions["previous"] = previous
        # At once, so that one that was changed or lost is refused whatever the gates say.
        self.model = load_model(candidate)
        self._begun = now()

    def go(self, verdict: Verdict, reason: str, force: bool = False) -> Record:
        """Move the alias if the verdict lets it, or by force, and give what is recorded of it.

        On the embedded store, of two that move an alias at once the second finds that it isn't
        where it was, and is refused. An MLRun API can't compare and set in one step: the alias is
        looked up right before, and again afterwards. Where both come between another's two steps,
        the last has the alias, and the record of the first may say that it was moved, as it was.
        """
        record = self._intent(verdict, reason, force)
        if verdict.refusals and not force:
            return self._end(record, "; ".join(verdict.refusals))
        self._write(record)
        lost = f"{self.key}:{self.alias} {MEANWHILE}"
        return self._end(record, "" if self._move() else lost)

    def _intent(self, verdict: Verdict, reason: str, force: bool) -> Record:
        owner = psutil.Process().username()
        labels = {"owner": owner, PROCESS: process_label(), PROMOTION: self.key}
        metadata = {"name": self.action, "uid": uuid.uuid4().hex, "labels": labels}
        notes = {REASON: hide(reason)} if reason else {}
        metadata |= {"project": self._records.project, "annotations": notes}
        parameters: Record = {"model": self.key, "to": self.alias}
        parameters |= {role: producer(version) for role, version in self._versions.items()}
        parameters |= {"force": True} if force else {}
        uris = {role: artifact_uri(version) for role, version in self._versions.items()}
        record = new_record(metadata, "", parameters, inputs=uris | verdict.inputs)
        record["status"] |= {"start_time": self._begun, "results": verdict.results}
        return record

    def _write(self, record: Record) -> None:
        record["status"]["last_update"] = now()
        self._records.db.store_run(record, record["metadata"]["uid"], self._records.project)

    def _end(self, record: Record, refused: str) -> Record:
        ended = {"state": "error", "error": hide(refused)} if refused else {"state": "completed"}
        record["status"] |= ended
        self._write(record)
        return _told(record)

    def _move(self) -> bool:
        records, before = self._records, uid_of(self.previous) if self.previous else ""
        if isinstance(records.db, Store):
            return records.db.move_tag(self.candidate, records.project, self.alias, before)
        if _held_by(records, self.key, self.alias) != before:
            return False
        records.tag(self.candidate, self.alias)
        return _held_by(records, self.key, self.alias) == uid_of(self.candidate)


def _held_by(records: Records, key: str, alias: str) -> str:
    found = holder(records, key, alias)
    return uid_of(found) if found else ""


def promote(
    records: Records,
    which: str,
    config: ModelsConfig,
    alias: str = CHAMPION,
    reason: str = "",
    force: bool = False,
) -> Record | None:
    """Give an alias to a version of a model, if the gates let it; None if it has it already.

    A refusal is the state `error` of what is given, and recorded.
    """
    check_own(alias)
    candidate = model_version(records, which)
    previous = holder(records, artifact_key(candidate), alias)
    if previous and uid_of(previous) == uid_of(candidate):
        uri = artifact_uri(candidate)
        done = [each for each in history(records, artifact_key(candidate)) if each["moved"]]
        if any(each["to"] == alias and each["candidate"]["uri"] == uri for each in done):
            return None
        previous = None  # it was tagged, and nothing has judged it
    move = Move(records, "promote", candidate, previous, alias)
    return move.go(judge(records, candidate, move.model, previous, config), reason, force)


def tag(records: Records, found: Record, name: str) -> None:
    """Tag a version of an artifact, but for a model's alias, of which there is a history."""
    key = artifact_key(found)
    if found["kind"] == "model":
        if name == CHAMPION or any(done["to"] == name for done in history(records, key)):
            raise click.UsageError(
                f"'{name}' is an alias of {key}, which has a history and may have gates. Promote "
                f"it: kedro mlrun promote {key}@{producer(found)[:8]} --to {name}"
            )
    check_own(name)
    records.tag(found, name)


def check_own(name: str) -> None:
    """Refuse a tag or an alias that says which version is meant in another way already."""
    check_tag(name)
    taken = {LATEST: "what was saved last", LAST: "what the last run saved"}
    if what := taken.get(name) or (_ID.fullmatch(name) and "an id, as runs and versions have one"):
        raise click.UsageError(f"'{name}' is {what}. Choose another name.")


def rollback(records: Records, key: str, alias: str = CHAMPION, reason: str = "") -> Record:
    """Give an alias back to the version that had it before; each time, one further back."""
    present = holder(records, key, alias)
    held = list[str]()  # by these versions, from each of which one goes back to the one before
    for done in reversed(history(records, key)):
        if done["to"] != alias or not done["moved"]:
            continue
        versions = [done["previous"], done["candidate"]]
        if done["action"] == "rollback":
            del versions[0]
            while held and held[-1] != done["candidate"]["uri"]:
                held.pop()
        uris = [version["uri"] for version in versions if version]
        held += uris if held[-1:] != uris[:1] else uris[1:]
    while held:
        uri = held.pop()
        try:
            candidate = records.named(uri)
        except RecordNotFoundError:
            continue  # it was deleted
        if not present or uid_of(candidate) != uid_of(present):
            return Move(records, "rollback", candidate, present, alias).go(Verdict(), reason)
    raise ModelError(
        f"No earlier {alias} of {key} is recorded, so there is none to go back to. To see what is: "
        f"kedro mlrun history {key}"
    )


def promote_trained(records: Records, uid: str, config: ModelsConfig) -> list[str]:
    """Promote what a run has trained, if the gates let it, and tell of each model how that went.

    That is each model whose key has a champion, or the run's only model.
    """
    found = records.artifacts_of(records.run(uid))
    saved = {artifact_key(item): item for item in found if item["kind"] == "model"}
    held = [key for key in saved if holder(records, key)]
    clear = held or [*saved]
    if saved and not config.gates:
        return ["No model is promoted: `models` in mlrun.yml has no gates."]
    if len(clear) > 1 and not held:
        return [
            f"No model is promoted: none of {', '.join(clear)} has a champion yet. Choose one: "
            f"kedro mlrun promote {clear[0]}@{uid[:8]}"
        ]
    uris = (artifact_uri(saved[key]) for key in clear)
    told = (promote(records, uri, config, reason="promote_if_better") for uri in uris)
    return [*map(sentence, filter(None, told))]


def sentence(told: Mapping[str, Any]) -> str:
    """Say how a promotion or a rollback went."""
    model, place = f"{told['model']} of run {told['candidate']['run'][:8]}", told["to"]
    if told["state"] == "error":
        return f"{model} is not promoted to {place}: {told['error']}."
    before = f", instead of run {told['previous']['run'][:8]}" if told["previous"] else ""
    return f"{model} is {told['model']}:{place} now{before}."


def history(records: Records, key: str = "") -> list[Record]:
    """List promotions and rollbacks, refused ones too, newest first; `moved` tells what was done.

    Of one whose process was killed, that is known from what had the alias afterwards.
    """
    label = f"{PROMOTION}={key}" if key else PROMOTION
    told = [_told(run) for run in records.each_run(None, labels=[label])]
    after = dict[tuple[str, str], str]()
    for row in told:
        of = row["candidate"] or {}  # which a run of others may lack
        place, mine = (row["model"], row["to"]), artifact_uid(of.get("uri"))
        if not row["moved"] and row["state"] != "error":
            if place not in after:
                after[place] = _held_by(records, *place)
            row["moved"] = after[place] == mine
        if row["moved"]:
            after[place] = artifact_uid(row["previous"]["uri"]) if row["previous"] else ""
    return told


def _told(run: Mapping[str, Any]) -> Record:
    about, annotations = summary(run), run["metadata"].get("annotations") or {}
    parameters, versions = about["parameters"], dict[str, Record | None]()
    for role in ("candidate", "previous"):
        uri = about["inputs"].get(role)
        versions[role] = {"run": parameters.get(role), "uri": uri} if uri else None
    return {
        "uid": about["uid"],
        "action": about["name"],
        "state": about["state"],
        "moved": about["state"] == "completed",
        "started": about["start_time"],
        "who": about["labels"].get("owner"),
        "model": parameters.get("model"),
        "to": parameters.get("to"),
        **versions,
        "results": about["results"],
        "force": bool(parameters.get("force")),
        "reason": annotations.get(REASON),
        "error": about["error"],
    }

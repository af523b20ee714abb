"""An alias moves if the gates let it, and what was meant and done is recorded: on both stores."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from kedro_mlrun.models import promote as room
from kedro_mlrun.models.promote import history, promote, rollback
from kedro_mlrun.models.versions import ModelError, holder, load_model
from kedro_mlrun.project import GateConfig, ModelsConfig
from kedro_mlrun.records.records import Records
from kedro_mlrun.records.summaries import uid_of
from kedro_mlrun.store.fields import artifact_uid, producer

GATES = ModelsConfig(
    gates={"roc_auc": GateConfig(at_least=0.7, worse_by=0.02), "f1": GateConfig(at_least=0)}
)
Train = Callable[..., str]


def champion(records: Records) -> str:
    """Give the id of the run that trained the champion."""
    found = holder(records, "model")
    return producer(found) if found else ""


def test_the_gates_let_a_model_pass_and_refuse_a_worse_one(records: Records, train: Train) -> None:
    """Both are judged on the same rows; a refusal is recorded with the numbers, no tag moves."""
    good, bad = train(), train("y")
    told: Any = promote(records, f"model@{good}", GATES, reason="the first")
    assert (told["state"], told["moved"], told["previous"]) == ("completed", True, None)
    assert champion(records) == good
    refused: Any = promote(records, f"model@{bad}", GATES)
    assert champion(records) == good
    assert refused["state"] == "error"
    assert "worse_by is 0.02" in refused["error"] and "at_least is 0.7" in refused["error"]
    run = records.run(refused["uid"])
    results = run["status"]["results"]
    names = ["candidate.f1", "candidate.roc_auc", "previous.f1", "previous.roc_auc"]
    assert sorted(results) == [*names, "rows", "rows_left_out"]
    assert results["candidate.roc_auc"] < 0.7 < results["previous.roc_auc"]
    assert run["metadata"]["name"] == "promote"
    assert (results["rows"], results["rows_left_out"]) == (60, 0)
    uids = {name: artifact_uid(uri) for name, uri in run["spec"]["inputs"].items()}
    assert uids == {
        "candidate": uid_of(records.artifact(f"model@{bad}")),
        "previous": uid_of(records.artifact(f"model@{good}")),
        "test_set": uid_of(records.artifact(f"test_set@{bad}")),
    }
    forced: Any = promote(records, f"model@{bad}", GATES, force=True)
    assert (forced["state"], forced["force"], champion(records)) == ("completed", True, bad)
    told = history(records, "model")
    assert [row["state"] for row in told] == ["completed", "error", "completed"]
    assert told[-1]["reason"] == "the first" and told[-1]["who"]
    # What a promotion found out of two models is no metric of one of them.
    assert records.metrics([records.artifact(f"model@{bad}")]) == [{}]


def test_rows_that_either_was_trained_on_are_left_out(
    records: Records, train: Train, made: Callable[[int], pd.DataFrame]
) -> None:
    """They are known by their values, whatever the columns' types and the index are."""
    rows, new = made(1), made(2)
    first = train(training=rows)
    seen = rows.head(30).assign(kind=rows["kind"].astype(str)).set_axis(range(100, 130))
    test = pd.concat([seen.iloc[:25], new.head(30), made(3).head(5)]).astype({"kind": "category"})
    second = train(training=made(3), test=test)
    promote(records, f"model@{first}", GATES)
    told: Any = promote(records, f"model@{second}", GATES)
    assert (told["results"]["rows"], told["results"]["rows_left_out"]) == (30, 30)
    third = train(training=made(4), test=pd.concat([made(3), new.head(19)]))
    told = promote(records, f"model@{third}", GATES)
    assert "19 of the 79 rows" in told["error"] and told["moved"] is False


def test_rollback_goes_back_one_further_each_time(records: Records, train: Train) -> None:
    """What came after is no way back; what was deleted is passed over, and other tags stay."""
    first, second, third = train(), train(), train()
    records.tag(records.artifact(f"model@{second}"), "other")
    for run in (first, second, third):
        promote(records, f"model@{run}", ModelsConfig())
    assert (rollback(records, "model", reason="slow")["moved"], champion(records)) == (True, second)
    promote(records, f"model@{third}", ModelsConfig())
    assert rollback(records, "model")["previous"]["run"] == third
    rollback(records, "model")
    assert champion(records) == first
    with pytest.raises(ModelError, match="No earlier champion of model is recorded"):
        rollback(records, "model")
    assert "other" in records.artifact(f"model@{second}")["metadata"]["tags"]
    promote(records, f"model@{second}", ModelsConfig())
    promote(records, f"model@{third}", ModelsConfig())
    records.delete(records.run(second), artifacts=True)
    rollback(records, "model")
    assert champion(records) == first
    assert [row["action"] for row in history(records, "model")].count("rollback") == 4


def test_of_two_promoters_one_wins_and_both_are_recorded(
    records: Records, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second finds that the alias isn't where it was when its model was judged."""
    first, second = train(), train()
    judge = room.judge

    def slow(*args: Any) -> Any:
        monkeypatch.setattr(room, "judge", judge)
        promote(records, f"model@{first}", GATES)
        return judge(*args)

    monkeypatch.setattr(room, "judge", slow)
    lost: Any = promote(records, f"model@{second}", GATES)
    assert lost["error"] == "model:champion was given to another version meanwhile"
    assert champion(records) == first
    assert sorted(row["state"] for row in history(records)) == ["completed", "error"]


def test_a_crash_leaves_what_was_meant_and_whether_it_was_done(
    records: Records, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The intent is recorded before the alias moves."""
    first, second = train(), train()

    class Killed(BaseException):
        """Stands for SIGKILL."""

    def killed(*_: Any) -> None:
        raise Killed

    for at, run in (("_end", first), ("_move", second)):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(room.Move, at, killed)
            promote(records, f"model@{run}", GATES)
    assert champion(records) == first
    told = history(records, "model")
    assert [(row["state"], row["moved"]) for row in told] == [("running", False), ("running", True)]
    assert told[0]["candidate"]["run"] == second and told[0]["results"]["previous.roc_auc"]


def test_what_cannot_be_judged_is_refused(records: Records, train: Train) -> None:
    """Without its training set, or with a file that isn't what was recorded."""
    run = train()
    config = GATES.model_copy(update={"training_set": "gone"})
    told: Any = promote(records, f"model@{run}", config)
    assert f"run {run[:8]}, which trained model, has no artifact 'gone'" in told["error"]
    other = train(test=pd.DataFrame({"score": range(30)}))
    told = promote(records, f"model@{other}", GATES)
    assert "model has the column 'x', which is none of its test set's (score)" in told["error"]
    version = records.artifact(f"model@{run}")
    file = version["spec"]["target_path"] + version["spec"]["model_file"]
    with open(file, "ab") as stream:
        stream.write(b"!")
    with pytest.raises(ModelError, match="has the hash"):
        promote(records, f"model@{run}", GATES, force=True)
    assert not champion(records)
    with pytest.raises(Exception, match="'test_set' is of kind 'dataset', and not a model"):
        promote(records, "test_set", GATES)


@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_models_are_judged_by_their_own_schema(
    records: Records, train: Train, made: Callable[[int], pd.DataFrame]
) -> None:
    """The last class is the positive one, named or numbered; a regression has none."""

    def told(run: str, *names: str) -> Any:
        gates = {name: GateConfig(at_least=0.5) for name in names}
        config = ModelsConfig(gates=gates)
        return promote(records, f"model@{run}", config, alias=run[:8])

    named, coded = (told(train(coded=coded), "f1", "roc_auc") for coded in (False, True))
    assert named["results"] == coded["results"] and named["moved"]
    numbers = [made(seed).assign(kind=lambda rows: rows["x"] * 2 + 1) for seed in (1, 2)]
    regression = told(train("xy", *numbers, model=LinearRegression()), "r2")
    assert regression["results"]["candidate.r2"] == pytest.approx(1)
    # Of the classes' numbers it could be computed.
    assert "r2 is a metric of regressions, and model tells classes" in told(train(), "r2")["error"]
    more, others = (made(seed).assign(kind=pd.Categorical([*"abc"] * 20)) for seed in (3, 4))
    assert "roc_auc: multi_class must be in" in told(train("xy", more, others), "roc_auc")["error"]
    assert "model doesn't know the class 'a'" in told(train(test=more), "accuracy")["error"]


def test_the_champion_is_what_was_trained(records: Records, train: Train) -> None:
    """It is loaded by its version, whatever is trained later; to promote it again does nothing."""
    first = train()
    promote(records, "model", ModelsConfig())
    train("y")
    found: Any = holder(records, "model")
    assert [*load_model(found).feature_names_in_] == ["x", "y"]
    assert promote(records, f"model@{first}", ModelsConfig()) is None

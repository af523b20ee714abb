"""One run, its artifacts, models, comparison and what is done from the page."""

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import mlrun
import pandas as pd
import pytest
from asked import Answers
from click.testing import CliRunner
from helpers import PROJECT, ROOT, Store
from sklearn.linear_model import LogisticRegression

from kedro_mlrun import MLRunDataframeDataset, MLRunMetricHistory, MLRunModel, MLRunResult
from kedro_mlrun.commands import cli
from kedro_mlrun.models.prediction import Answer
from kedro_mlrun.models.requests import RequestLog
from kedro_mlrun.models.schema import Rows
from kedro_mlrun.page import graph, views
from kedro_mlrun.page import models as models_page
from kedro_mlrun.records.records import Records
from kedro_mlrun.records.summaries import uid_of
from kedro_mlrun.store.fields import artifact_uri

MakeRun = Callable[..., str]


def records_of(store: Store) -> Records:
    return Records(*store.manager.to_read())


def test_a_run_tells_what_ran_on_what_with_which_result(
    store: Store, page: Answers, make_run: MakeRun
) -> None:
    """Also what its error was, how to repeat it, and who used what it has saved."""
    nodes = [{"name": "train", "inputs": ["rows@pandas", "params:x"], "outputs": ["notes"]}]
    saves = {
        "notes": (b"ends well", "txt"),
        "kedro.pipeline": (json.dumps({"nodes": nodes}), "json"),
    }
    params = {"split.seed": 7, "kedro.command": "kedro run --params split.seed=7"}
    labels = {"git-commit": "c0ffee; x", "git-dirty": "false"}
    uid = make_run(params=params, results={"auc": 0.91234}, labels=labels, saves=saves, ends=False)
    store.manager.context.set_annotation("kedro.made-of", "{}")
    store.manager.close_run()
    link = page(f"/run?id={uid}").links("/artifact?key=notes")[0]
    uri = page(link).words.partition(" uri ")[2].split()[0]
    failed = make_run(
        "evaluation", inputs={"notes": uri}, error="Node 'a': ValueError: no\n\nTraceback …"
    )
    run = page(f"/run?id={uid}")
    for text in (
        "0.9123",
        "split.seed 7",
        f"kedro mlrun reproduce {uid[:8]} ",
        "git checkout 'c0ffee; x' kedro run --params split.seed=7",
    ):
        assert text in run.words, text
    assert f"used by evaluation {failed[:8]}" in run.words
    assert "train" in run.text and ">rows</text>" in run.text and "params:x" not in run.text
    assert "ends well" in page(run.links("/preview?key=notes")[0]).words
    user = page(f"/run?id={failed}").words
    assert "✕" not in user and "Error Node 'a': ValueError: no" in user and "Traceback …" in user
    assert link in page(f"/run?id={failed}").links("/artifact")
    assert f"of run {uid[:8]}" in user
    # A job's command says nothing of what it is to run.
    job = {"kedro.command": "mlrun run --from-env --handler=kedro_mlrun.jobs.handler.run"}
    repeated = page(f"/run?id={make_run(params=job, labels={'git-commit': 'c0ffee'})}").words
    repeated = repeated.partition("Repeat it")[2].partition("Options")[0]
    assert "can't do that: this run tells nothing" in repeated and "--from-env" not in repeated
    lineage = page(link)
    assert f"/run?id={failed}" in lineage.links("/run") and "evaluation" in lineage.text


def nodes_of(text: str) -> str:
    """Give what a run's graph says of nodes."""
    drawn = text.partition('aria-label="Graph: Pipeline"')[2].partition("</svg>")[0]
    nodes = re.findall(r'<g class="box node.*?</title>(.*?)</g>', drawn, re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", " ".join(nodes)).split())


def test_a_graph_tells_how_each_node_went(store: Store, page: Answers, make_run: MakeRun) -> None:
    """By what is recorded at the end of a run; until then, by what has come of it."""
    names = ["load", "split", "train", "score"]
    nodes = [
        {"name": name, "inputs": [f"d{n}", "params:x"], "outputs": [f"d{n + 1}"]}
        for n, name in enumerate(names)
    ]
    saves = {"kedro.pipeline": (json.dumps({"nodes": nodes}), "json"), "d2": (b"x", "txt")}
    going = make_run(saves=saves, ends=False)
    assert "load split train no result score no result" in nodes_of(page(f"/run?id={going}").text)
    steps = [(name, action) for name in names[:3] for action in ("load", "run", "save")][:7]
    table = pd.DataFrame([*steps], columns=["node", "action"]).assign(
        seconds=[0.5] * 4 + [60.0] * 3
    )
    MLRunDataframeDataset("kedro.nodes").save(table)
    store.manager.close_run("Node 'train': ValueError: no rows\n\nTraceback …")
    run = page(f"/run?id={going}")
    assert "load 1.50 s split 0:02:00 train ✕ failed score not run" in nodes_of(run.text)
    assert run.links("#error") and 'class="box data undone"' in run.text
    # A node that yields nothing only loads, and others may have had no time for more.
    for error, score in ((None, "0.50 s"), ("Node 'load': ValueError: no", "no result")):
        whole = make_run(saves=saves, ends=False)
        table = pd.DataFrame(
            {"node": ["train", "score"], "action": ["run", "load"], "seconds": 0.5}
        )
        MLRunDataframeDataset("kedro.nodes").save(table)
        store.manager.close_run(error)
        told = nodes_of(page(f"/run?id={whole}").text)
        assert f"split not run train 0.50 s score {score}" in told
    # Where it isn't recorded at all, only the error names one.
    killed = make_run(saves=saves, error="Node 'load' or 'split': ValueError: no rows")
    told = nodes_of(page(f"/run?id={killed}").text)
    assert "load ✕ failed split ✕ failed train no result score no result" in told
    done = nodes_of(page(f"/run?id={make_run(saves=saves)}").text)
    assert not {"failed", "result", "run"} & {*done.split()} and "score" in done


def test_a_graph_tells_which_node_runs(store: Store, page: Answers, make_run: MakeRun) -> None:
    """Where nodes run one after another, and it is the turn of one whose outputs are recorded."""
    names, params = ["load", "split", "train", "score"], {"kedro.runner": "SequentialRunner"}
    nodes = [
        {"name": name, "inputs": [f"d{n}"], "outputs": [f"d{n + 1}"]}
        for n, name in enumerate(names)
    ]
    saves = {"kedro.pipeline": (json.dumps({"nodes": nodes}), "json")}
    failed = make_run(params=params, saves=saves, error="Node 'load': ValueError: no rows")
    told = nodes_of(page(f"/run?id={failed}").text)
    assert told == "load ✕ failed split not run train not run score not run"
    saves["kedro.catalog"] = ("{d2: {key: d2}, d3: {key: d3}, d4: {key: d4}}", "yaml")
    for runner, runs in (("SequentialRunner", "running"), ("ThreadRunner", "no result")):
        uid = make_run(params={"kedro.runner": runner}, saves=saves, ends=False)
        # Nobody knows what became of d1, which is in no catalog.
        told = nodes_of(page(f"/run?id={uid}").text)
        assert told == " ".join(f"{name} no result" for name in names)
        # A result is no artifact, and may have other names than its dataset.
        MLRunResult("d2", flatten=True).save({"auc": 0.5})
        told = nodes_of(page(f"/run?id={uid}").text)
        assert told == f"load split train {runs} score no result"
        store.manager.close_run()


def test_values_are_shown_whole(page: Answers, make_run: MakeRun) -> None:
    """A long text with its lines; None and an empty text, which differ from what is lacking."""
    prompt = "".join(f"Line {n} of it.\n" for n in range(40))
    first = make_run(params={"prompt": prompt, "none": None, "empty": ""})
    run = page(f"/run?id={first}")
    assert prompt in run.text and 'empty ""' in run.words and "none —" in run.words
    second = make_run(params={"none": 1, "empty": 1, "lacking": 1})
    table = page(f"/compare?id={first},{second}").words.partition("as a text")[0]
    assert 'empty "" 1' in table and "none — 1" in table and "lacking 1" in table


def test_what_was_in_no_commit_is_said(page: Answers, make_run: MakeRun) -> None:
    """Of a run in any state, once."""
    labels = {"git-commit": "c0ffee", "git-dirty": "true"}
    for state in {"error": "Node 'a': no"}, {}, {"ends": False}:
        repeated = page(f"/run?id={make_run(labels=labels, **state)}").words
        assert repeated.count("in no commit") == 1
    assert "in no commit" not in page(f"/run?id={make_run(labels={'git-commit': 'c'})}").words


@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_what_is_damaged_leaves_all_else(store: Store, page: Answers, make_run: MakeRun) -> None:
    """Whatever of a run can't be read."""
    nodes = [{"name": "train", "inputs": ["rows"], "outputs": []}]
    drawn = {"kedro.pipeline": (json.dumps({"nodes": nodes}), "json")}
    times = pd.DataFrame({"node": ["train"], "action": ["run"], "seconds": ["long"]})
    tables = [times, times.drop(columns="node"), times.assign(node=[["train"]])]
    of_nodes = [*(table.to_parquet() for table in tables), b"none"]
    graphs = b"{", b"[]", b'{"nodes": 3}', b'{"nodes": [{"name": "a"}]}', b"null"
    saves = [drawn | {"kedro.nodes": (data, "parquet")} for data in of_nodes]
    saves += [{"kedro.pipeline": (text, "json")} for text in graphs]
    found = [make_run(results={"auc": 0.5}, saves=each) for each in saves]
    for uid in found:
        shown = page(f"/run?id={uid}")
        assert shown.status == 200 and "auc 0.5000" in shown.words
        assert ("train" in nodes_of(shown.text)) == (uid in found[: len(of_nodes)])
    uid, db = (
        make_run(results={"auc": 0.5}, saves={"curve": (b"PAR1", "parquet")}),
        store.manager.db,
    )
    assert "can't be read" in page(page(f"/run?id={uid}").links("/preview")[0]).words
    run, asked = db.read_run(uid, store.project), {"metric": "auc", "direction": "maximize"}
    run["status"]["error"] = {"a": 1}
    rows = [["state", "iter", "output.auc"], ["completed", 1, 0.5]]
    good, whole = json.dumps({"config": asked}), [*rows, ["error", 2, None]]
    damaged = [(each, good) for each in ("text", 3, [3], [["state"], 3, ["completed"]], whole)]
    for iterations, search in [*damaged, (whole, "{"), (whole, "[]")]:
        run["metadata"]["annotations"] = {"kedro.search": search}
        run["status"]["iterations"] = iterations
        db.store_run(run, uid, store.project)
        shown, trials = page(f"/run?id={uid}"), page(f"/trials?id={uid}")
        assert (shown.status, trials.status) == (200, 200), (iterations, search)
        assert "auc 0.5000" in shown.words
        assert ("0.5000" in trials.words) == (iterations == whole)
        assert page("/").status == 200
    names = ("spec.parameters", "spec.inputs", "metadata.labels", "metadata.annotations")
    for part, name in (each.split(".") for each in (*names, "status.artifact_uris")):
        run[part][name] = "text"
    db.store_run(run, uid, store.project)
    for url in (f"/run?id={uid}", "/", "/rows?q=auc", f"/compare?id={uid},{found[0]}"):
        assert page(url).status == 200, url
    assert "auc 0.5000" in page(f"/run?id={uid}").words


def test_a_run_that_goes_on_grows_and_a_deleted_one_goes(
    store: Store, page: Answers, make_run: MakeRun
) -> None:
    """The page asks for its rows again, and is told nothing while nothing has changed."""
    uid = make_run(ends=False)
    first = page("/rows")
    run = page(f"/run?id={uid}").text
    assert 'data-state="running"' in first.text and "data-live" in run and "data-since" in run
    same = page("/rows", headers={"if-none-match": first.headers["etag"]})
    assert (same.status, same.body) == (304, b"")
    store.manager.context.log_result("auc", 0.75)
    store.manager.context.commit()
    grown = page("/rows", headers={"if-none-match": first.headers["etag"]})
    assert grown.status == 200 and "0.7500" in grown.words
    refused = page("/delete", {"id": uid})
    assert refused.status == 502 and "is running" in refused.words
    db = store.manager.db
    db.store_log(uid, store.project, "grün\n".encode() + "ü".encode()[:1], append=True)
    log = page(f"/log?id={uid}").json()
    assert (log["state"], log["text"]) == ("running", "grün\n")
    db.store_log(uid, store.project, "ü".encode()[1:], append=True)
    assert page(f"/log?id={uid}&offset={log['offset']}").json()["text"] == "ü"
    store.manager.close_run()
    assert "data-live" not in page(f"/run?id={uid}").text
    records_of(store).delete(records_of(store).run(uid))
    assert uid not in page("/rows").text


def test_runs_are_compared(store: Store, page: Answers, make_run: MakeRun) -> None:
    """Only what differs is shown, and which is best; many runs are rows, and few are columns."""
    images = {"chart": (b"no image", "png")}
    seeds, losses = range(10), [0.5, 0.4, 0.1, *[0.6] * 7]
    uids = [
        make_run(
            params={"split.seed": seed, "same": 1}, results={"log_loss": losses[seed], "auc": 0.5}
        )
        for seed in seeds[:-1]
    ]
    uids.append(
        make_run(params={"split.seed": 9, "same": 1}, results={"log_loss": 0.6}, saves=images)
    )
    two = page(f"/compare?id={uids[0]}&id={uids[1]}")
    assert "same" not in two.words.partition("as a text")[0] and "best: 0.4000" in two.words
    assert "-split.seed: 0" in two.words and "+split.seed: 1" in two.words
    ten = page(f"/compare?id={','.join(uids)}")
    assert ten.words.count("best: ") == 1 and "best: 0.1000" in ten.words
    told = page(f"/compare/data?id={','.join(uids)}").json()
    assert [run["uid"] for run in told["runs"]] == uids
    [loss] = [each for each in told["results"] if each["name"] == "log_loss"]
    assert (loss["values"], loss["best"]) == (losses, 0.1)
    shown = f"/compare?id={uids[8]},{uids[9]}"
    assert page(shown).links("/image?key=chart")
    if not store.dbpath.startswith("http"):
        # What is gone is no broken image.
        [image] = records_of(store).artifacts("chart")
        Path(image["spec"]["target_path"]).unlink()
        text = views.exported(records_of(store), [records_of(store).run(uids[9])], "here")
        for told in (page(shown).text, page(f"/run?id={uids[9]}").text, text):
            assert "chart.png does not exist" in told and "<img" not in told
    refused = page(f"/compare?id={uids[0]},{'0' * 32}")
    assert refused.status == 400 and "1 of these runs is deleted. Check two" in refused.words
    # The larger of these is best, the smaller, and of the last nobody knows.
    values = {"neg_log_loss": -1.0, "fit.latency": 2.0, "of.rows": 3, "score_time": 0.5}
    values |= {"rank_test_score": 1, "std_test_score": 0.25, "accuracy_drop": 0.1, "logloss": 0.5}
    others = [make_run(results={name: n * value for name, value in values.items()}) for n in (1, 2)]
    told = page(f"/compare/data?id={','.join(others)}").json()["results"]
    best = {**values, "of.rows": None}
    assert {each["name"]: each["best"] for each in told} == best


def test_runs_are_written_to_one_file(
    store: Store, page: Answers, make_run: MakeRun, tmp_path: Path
) -> None:
    """It needs no server, no other file, and has what was asked for."""
    uids = [
        make_run(params={"split.seed": seed, "note": "</script>"}, results={"loss": seed / 4})
        for seed in range(3)
    ]
    words = ["--export", str(tmp_path / "runs.html"), "--where", "split.seed >= 1"]
    done = CliRunner().invoke(cli.mlrun_group, ["ui", *words])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "runs.html").read_text(encoding="utf-8")
    assert all(uid[:8] in text for uid in uids[1:]) and uids[0][:8] not in text
    assert "best: </span><bdi>0.2500" in text
    assert "src=" not in text and text.count("</script>") == text.count("<script") == 2
    refused = CliRunner().invoke(cli.mlrun_group, ["ui", *words, "--where", "split.seed > 9"])
    assert refused.exit_code == 2 and "No run matches." in refused.output


def test_compared_numbers_differ_as_they_are_shown(page: Answers, make_run: MakeRun) -> None:
    """Those of a row have as many digits as that needs; what explains results comes first."""
    both = [make_run(params={"n": auc}, results={"auc": auc}) for auc in (0.99996, 1.0)]
    told = page(f"/compare?id={','.join(both)}").words.partition("as a text")[0]
    assert "n 0.99996 1 +" in told and "auc 0.99996 best: 1 +" in told
    assert told.index("parameters") < told.index("results")
    assert told.count("differences are to this one") == 1


def test_promotions_are_no_runs_to_compare(
    store: Store, page: Answers, make_run: MakeRun, tmp_path: Path
) -> None:
    """A file has none unless nothing else matches; beside runs, one has no charts and no diff."""
    uids = [make_run(params={"seed": seed}, results={"auc": seed / 4}) for seed in (1, 2)]
    store.manager.open_run("training")
    MLRunModel("forest").save(LogisticRegression())
    store.manager.close_run()
    [version] = records_of(store).artifacts("forest")
    form = {"key": "forest", "uid": uid_of(version), "alias": "champion"}
    assert page("/promote", form).status == 303
    newest, trained, *_ = map(uid_of, records_of(store).runs())
    file = tmp_path / "runs.html"
    for words, found in (["--last=1"], trained), (["--where=name = promote"], newest):
        done = CliRunner().invoke(cli.mlrun_group, ["ui", f"--export={file}", *words])
        assert done.exit_code == 0, done.output
        text = file.read_text(encoding="utf-8")
        shown = re.findall(r"<tr data-run=.*?<code>(\w+)</code>", text, re.DOTALL)
        assert shown[0] == found[:8] and "<h1>1 run</h1>" in text
    told = page(f"/compare/data?id={','.join([newest, *uids])}").json()
    assert [run["uid"] for run in told["runs"]] == uids
    compared = page(f"/compare?id={','.join([newest, *uids])}")
    assert newest[:8] in compared.words and compared.text.count('<details class="diff"') == 1


def test_what_the_command_cant_do_is_said_before(
    store: Store, make_run: MakeRun, tmp_path: Path
) -> None:
    make_run()
    for words, told in {
        ("--where=a = 1",): "add --export FILE.html",
        ("--last=5",): "add --export FILE.html",
        (f"--export={tmp_path}/none/a.html",): "There is no folder",
    }.items():
        # Nobody can listen at that address, so that no server is started.
        done = CliRunner().invoke(cli.mlrun_group, ["ui", "--host=203.0.113.1", *words])
        assert done.exit_code == 2 and told in done.output, done.output


def test_tables_are_shown_by_page(store: Store, page: Answers) -> None:
    """Of Parquet and CSV, a hundred rows at once."""
    store.manager.open_run("tables")
    frame = pd.DataFrame({"x": range(250), "<b>": [f"v{n}" for n in range(250)]})
    MLRunDataframeDataset("parquet").save(frame)
    MLRunDataframeDataset("csv", save_args={"format": "csv"}).save(frame)
    run = page(f"/run?id={store.manager.context.uid}")
    for key in ("parquet", "csv"):
        link = run.links(f"/artifact?key={key}")[0]
        first, last = page(link), page(f"{link}&page=2")
        assert "v99" in first.words and "v100" not in first.words and "<b>" in first.words
        assert "v249" in last.words and "v199" not in last.words and "201–250" in last.words
        beyond = page(f"{link}&page=99")
        assert "No rows" in beyond.words and link in beyond.links("/artifact")
        assert "index" not in first.words
    # An index that says more than the number of a row is shown, of a range, too.
    days = pd.DataFrame({"x": [7, 8]}, index=pd.date_range("2026-01-01", periods=2, name="day"))
    frames = {
        "days": (days, "x 1 2026-01-01 00:00:00 7"),
        "named": (frame[["x"]].rename(index=str), "index x 1 0 0"),
        "part": (frame[["x"]].iloc[10:], "index x 1 10 10"),
        "steps": (frame[["x"]].rename_axis("step"), "step x 1 0 0"),
    }
    for key, (table, _) in frames.items():
        MLRunDataframeDataset(key).save(table)
        MLRunDataframeDataset(f"{key}.csv", save_args={"format": "csv"}).save(table)
    MLRunMetricHistory("curve").save({"loss": [0.5, 0.25]})
    run = page(f"/run?id={store.manager.context.uid}")
    for key, (_, words) in (frames | {"curve": ("", "step loss 1 0 0.5000 2 1 0.2500")}).items():
        assert words in page(run.links(f"/preview?key={key}&")[0]).words, key
    for key, words in {"days": "day x 1 2026-01-01 7", "part": "index x 1 10 10"}.items():
        assert words in page(run.links(f"/preview?key={key}.csv")[0]).words, key
    last = page(f"{run.links('/artifact?key=part&')[0]}&page=2")
    assert "201 210 210" in last.words
    # No browser is given more cells than it lays out at once.
    MLRunDataframeDataset("wide").save(pd.DataFrame({f"c{n}": [n] * 100 for n in range(150)}))
    wide = page(page(f"/run?id={store.manager.context.uid}").links("/preview?key=wide&")[0])
    assert "50 of 150 columns" in wide.words and wide.text.count("<td") < 5_200
    store.manager.close_run()


def test_models_are_tagged_and_promoted(
    store: Store, page: Answers, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the functions that the commands use, with what these record."""
    store.manager.open_run("training")
    MLRunModel("forest").save(LogisticRegression())
    store.manager.context.log_result("test.forest.auc", 0.875)
    store.manager.close_run()
    [version] = records_of(store).artifacts("forest")
    form = {"key": "forest", "uid": version["metadata"]["uid"]}
    assert page("/tag", {**form, "tag": "a b"}).status == 404
    assert page("/tag", {**form, "tag": "night"}).status == 303
    again = {**form, "alias": "champion", "reason": "more data"}
    assert page("/promote", again).status == 303
    assert "It is champion already." in page("/promote", again).words
    # Which would leave no history.
    assert "Promote it: kedro mlrun" in page("/tag", {**form, "tag": "champion"}).words
    models = page("/models").words
    assert all(text in models for text in ("night", "champion", "0.8750", "more data", "moved"))
    assert "0.8750" in page("/models?key=forest").words
    assert "0.8750" not in page("/models?key=other").words
    own = page(page("/models").links("/artifact?key=forest")[0])
    assert "test.auc 0.8750" in own.words.partition("Metrics")[2].partition("Lineage")[0]
    # What stands at the top isn't said again.
    assert own.words.count("model of run") == 1 and "created" not in own.words
    # Who has an alias comes before newer versions, and if it is older than all that are shown.
    store.manager.open_run("training")
    MLRunModel("forest").save(LogisticRegression(C=2))
    store.manager.close_run()
    for size in (100, 1):
        monkeypatch.setattr(models_page, "SIZE", size)
        first, second = dict.fromkeys(page("/models").links("/artifact?key=forest"))
        assert form["uid"] in first and form["uid"] not in second
    refused = page("/promote", {**form, "alias": "latest"})
    assert refused.status == 400 and "Choose another name" in refused.words


def test_models_tell_where_they_are_served_and_used(
    store: Store, page: Answers, make_run: MakeRun
) -> None:
    """By functions on a cluster, and by the server here, which records requests; and by runs."""
    for _ in range(2):
        store.manager.open_run("training")
        MLRunModel("forest").save(LogisticRegression())
        store.manager.close_run()
    newer, older = records_of(store).artifacts("forest")
    records_of(store).tag(older, "champion")
    uri = artifact_uri(older)
    make_run("inference", inputs={"forest": uri})
    function = mlrun.new_function("serve-forest", kind="serving", image="mlrun/mlrun")
    function.add_model("forest", model_path="store://models/iris/forest:champion", class_name="C")
    body = function.to_dict() | {"status": {"state": "ready", "address": "cluster:30080"}}
    store.manager.db.store_function(body, "serve-forest", store.project, tag="latest")
    log = RequestLog(store.manager.artifact_path, "forest")
    log.put(Rows(["x"], ["number"], [[7]]), Answer([1], version=uid_of(newer)), None, 9)
    log.close()
    models = page("/models")
    of_newer, of_older = (
        models.text.partition(f"uid={uid_of(each)}")[2].partition("</tr>")[0]
        for each in (newer, older)
    )
    assert "here until 2" in of_newer and "inference" not in of_newer
    assert "here" not in of_older and "inference" in of_older
    # Where the store is embedded, there is no cluster.
    on_cluster = "function serve-forest ready cluster:30080" in of_older
    assert on_cluster == store.dbpath.startswith("http") and "function" not in of_newer
    own = page(models.links(f"/artifact?key=forest&uid={uid_of(older)}")[0])
    assert ("Served by function serve-forest" in own.words) == on_cluster
    lineage = own.text
    graph = lineage.partition('aria-label="Lineage"')[2].partition("</svg>")[0]
    assert "training" in graph and "inference" in graph


def test_runs_are_deleted_and_aborted_after_a_question(
    store: Store, page: Answers, make_run: MakeRun
) -> None:
    """The question says what goes with them."""
    uid = make_run(saves={"notes": (b"x", "txt")})
    link = page(f"/run?id={uid}").links("/artifact?key=notes")[0]
    item = records_of(store).artifacts("notes")[0]
    records_of(store).tag(item, "kept")
    question = page(f"/delete?id={uid}")
    assert "Delete this run?" in question.words and "is tagged" in question.words
    assert page("/abort", {"id": uid}).status == 303
    assert page.aborted[0]["metadata"]["uid"] == uid  # type: ignore[attr-defined]
    assert page("/delete", {"id": uid, "artifacts": "1"}).status == 303
    assert page(link).status == 404 and not Path(item["spec"]["target_path"]).exists()


def test_a_search_is_one_line_that_opens(store: Store, page: Answers, make_run: MakeRun) -> None:
    """Its trials come when they are asked for."""
    uid = make_run("search")
    db = store.manager.db
    run = db.read_run(uid, store.project)
    run["metadata"]["annotations"] = {
        "kedro.search": json.dumps({"config": {"metric": "auc", "direction": "maximize"}})
    }
    run["status"]["iterations"] = [
        ["state", "iter", "param.depth", "param.kind", "output.loss", "output.auc"],
        ["completed", 1, 3, "gini", 0.25, 0.5],
        ["completed", 2, 4, "gini", 0.125, 0.75],
        ["aborted", 3, 5, "gini", None, None],
        ["error", 4, 6, "gini", None, None],
    ]
    db.store_run(run, uid, store.project)
    rows = page("/rows")
    assert "4 trials" in rows.words and "0.7500" not in rows.words
    trials = page(rows.links("/trials")[0])
    assert "Same in all trials: kind = gini trial auc state depth loss 1 0.5000" in trials.words
    assert '<tr class="best"><th scope="row" title="2">2 <small>best' in trials.text
    assert "3 pruned 5" in trials.words and "4 error 6" in trials.words
    assert "0.7500" in page(f"/run?id={uid}").words


def test_graphs_have_layers() -> None:
    """What follows stands below; a circle is drawn as well."""
    rows, _ = graph.layers("abcx", [("a", "b"), ("b", "c"), ("a", "c"), ("x", "c")])
    assert [{*row} for row in rows] == [{"a"}, {"b", "x", ("a", 1)}, {"c"}]
    rows, _ = graph.layers("ab", [("a", "b"), ("b", "a")])
    assert sorted(sum(rows, [])) == ["a", "b"]


def test_labels_of_a_graph_are_cut_apart() -> None:
    """What would be cut to the same text has all of its own."""
    names = [f"random_forest_{part}_prediction" for part in ("test", "training", "validation")]
    other = "xgboost_of_another_kind_prediction"
    told = graph.drawn([graph.Box(name, "data", name) for name in [*names, other]], [])
    texts = [box.text for box, _ in told["boxes"]]
    assert texts == [*names, "xgboost_of_a…_prediction"]


def test_no_line_of_a_graph_runs_behind_a_box() -> None:
    """Nor does a box stand on another, and all are in the frame."""
    chain = [(f"n{n}", f"n{n + 1}") for n in range(9)]
    far = [("n0", "n9"), ("n0", "n5"), ("n2", "n7"), ("n2", "x"), ("y", "n8"), ("n1", "z")]
    names = ["n0", *(end for _, end in chain), "x", "y", "z"]
    told = graph.drawn([graph.Box(name, "node", name * 9) for name in names], chain + far)
    places = {(x, y): box.width for box, (x, y) in told["boxes"]}
    ends = [re.match(r"M(\S+) (\S+)C.* (\S+) (\S+?)(v|$)", line) for line in told["lines"]]
    passing = 0
    for end in ends:
        assert end and float(end[4]) > float(end[2])
        passing += end[5] == "v"
        for (x, y), width in places.items():
            is_beside = not x - 1 <= float(end[3]) <= x + width + 1
            assert is_beside or y != float(end[4]) or end[5] != "v"
    # In each of the layers between, and once for both that begin at n0.
    assert passing == 8 + 4
    for (x, y), width in places.items():
        assert 0 <= x <= x + width <= told["size"][0] and y + told["height"] <= told["size"][1]
        assert not any(x < other < x + width for other, at in places if at == y)


def test_a_generated_project_has_the_page_as_it_is() -> None:
    """Its templates are Jinja's, too, and not for cookiecutter to fill in."""
    page = Path("src", "kedro_mlrun", "page")
    own = ROOT / "{{ cookiecutter.repo_name }}" / page
    files = [file for file in own.rglob("*") if file.is_file() and file.suffix != ".pyc"]
    assert {file.suffix for file in files} == {".css", ".html", ".js", ".py"}
    for file in files:
        assert file.read_bytes() == (PROJECT / page / file.relative_to(own)).read_bytes(), file


def test_files_that_are_elsewhere_are_fetched_once(store: Store, page: Answers) -> None:
    """From an object store, as runs of a cluster have them; from no server that a record names."""
    store.manager.open_run("far")
    context, url = store.manager.context, f"memory://{store.project}/far.txt"
    mlrun.get_dataitem(url).put("far away")
    for key, path in (("far", url), ("web", "http://127.0.0.1:9/x.txt")):
        context.log_artifact(key, target_path=path, db_key=key)
    store.manager.close_run()
    run = page(f"/run?id={context._uid}")
    assert "far away" in page(run.links("/preview?key=far")[0]).words
    assert page(run.links("/artifact?key=far")[0].replace("artifact", "file", 1)).text == "far away"
    assert "is not fetched" in page(run.links("/preview?key=web")[0]).words


def test_one_is_led_back(page: Answers, make_run: MakeRun) -> None:
    """From what is refused to where one was on this page; from a deletion to what one has seen."""
    uid = make_run()
    for referer, back in (
        ("http://127.0.0.1:5055/artifact?key=a%20b&uid=c", "/artifact?key=a%20b&uid=c"),
        ("http://127.0.0.1:5055//evil.example/", "/evil.example/"),
        ("http://evil.example/artifact", "/"),
    ):
        refused = page("/promote", {"key": "a b", "uid": "c"}, headers={"referer": referer})
        assert refused.status == 404 and refused.links("/")[-1] == back
    for back, place in (
        ("/?q=x&page=2", "/?q=x&page=2"),
        ("/run?id=x", "/?"),
    ):
        asked = page(f"/delete?id={uid}", headers={"referer": f"http://127.0.0.1:5055{back}"})
        query = unescape(asked.text.partition('name="query" value="')[2].partition('"')[0])
        assert page("/delete", {"query": query}).headers["location"] == place
        assert back in asked.links("/")


def test_models_begin_with_what_tells_versions_apart(store: Store, page: Answers) -> None:
    """Then their metrics, those of the test first."""
    store.manager.open_run("training")
    MLRunModel("forest").save(LogisticRegression())
    store.manager.context.log_results({"forest.train.auc": 1, "forest.test.auc": 0.5})
    store.manager.close_run()
    heads = re.findall("<th scope=.col.*?<bdi>(.*?)</bdi>", page("/models").text)
    assert heads == ["version", "aliases", "run", "saved", "used by", "test.auc", "train.auc"]

"""The source that a job gets: what is in it, what never is, and when it isn't sent at all."""

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import PROJECT, metadata

from kedro_mlrun.jobs import source
from kedro_mlrun.secrets import known as secrets


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know no secret but the test's own, and use no setting of the user's git."""
    monkeypatch.setattr(secrets, "_known", secrets._Known())
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.com")


def git(folder: Path, *arguments: object) -> str:
    """Run git, which must succeed."""
    command = ["git", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


FILES = {
    "pyproject.toml": "[tool.kedro]\n",
    ".gitignore": (PROJECT / ".gitignore").read_text(),
    "conf/base/catalog.yml": "measurements:\n  type: pandas.CSVDataset\n",
    "conf/local/.gitkeep": "",
    "conf/local/mlrun.yml": "project: mine\n",
    "conf/local/credentials.yml": "db: {user: admin, password: pa55-phrase, port: 5432}\n",
    "data/01_raw/a.csv": "x\n1\n",
    "data/02_models/.gitkeep": "",
    "data/02_models/model.bin": "weights",
    "src/iris/__init__.py": "",
    "run.sh": "#!/bin/sh\n",
    ".env": "API_TOKEN=t0ken-of-mine\nREGION=eu-central-1\n",
    ".mlrun/mlrun.db": "runs",
}
SENT = {"pyproject.toml", ".gitignore", "conf/base/catalog.yml", "data/01_raw/a.csv"}
SENT |= {"data/02_models/.gitkeep", "src/iris/__init__.py", "run.sh"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project in no repository, as right after `kedro new`."""
    folder = tmp_path / "outer" / "project"
    for name, text in FILES.items():
        write(folder / name, text)
    (folder / "run.sh").chmod(0o744)
    return folder


def write(path: Path, text: str) -> None:
    """Write a file, in a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def names(archive: Any) -> set[str]:
    """Give the paths of the files in an archive, as it lists them and as they are in it."""
    listed = set(archive.files)
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as content:
        entries = list(content)
    assert listed == {entry.name for entry in entries if not entry.isdir()}
    assert [entry.name for entry in entries if entry.isdir()] == ["conf/local"]
    return listed


def commit(folder: Path, *force: str) -> None:
    """Commit all that is there."""
    git(folder, "add", "--all")
    if force:
        git(folder, "add", "--force", *force)
    git(folder, "commit", "--quiet", "--message=All")


# ---- what is in the archive


def not_in_a_repository(project: Path) -> None:
    """Leave it as it is."""


def in_its_own(project: Path) -> None:
    """Track some files, some not yet, and what never belongs into a repository."""
    in_its_own_folder(project, "conf")


def in_its_own_folder(project: Path, conf: str) -> None:
    """The same, with another name for the folder of configuration."""
    git(project, "init", "--quiet")
    git(project, "add", "--force", conf, "pyproject.toml", ".env", ".mlrun")


def in_an_outer_one(project: Path) -> None:
    """Have files beside the project's in its repository, and one that was deleted since."""
    write(project.parent / "other.txt", "not the project's")
    git(project.parent, "init", "--quiet")
    write(project / "deleted.txt", "")
    commit(project.parent)
    (project / "deleted.txt").unlink()


def in_one_that_ignores_it(project: Path) -> None:
    """As where somebody's home is a repository."""
    git(project.parent, "init", "--quiet")
    write(project.parent / ".gitignore", "*\n!.gitignore\n")


@pytest.mark.parametrize(
    "prepare", [not_in_a_repository, in_its_own, in_an_outer_one, in_one_that_ignores_it]
)
def test_files(project: Path, prepare: Callable[[Path], None]) -> None:
    """What git would track is sent, and nothing that is secret, even if git tracks it."""
    prepare(project)
    archive = source.pack(project, 1)
    assert names(archive) == SENT
    assert b"mine" not in archive.content
    assert not (project / ".git").exists() or prepare is in_its_own


def test_unpacked(project: Path, tmp_path: Path) -> None:
    """MLRun unpacks it; empty folders are there, and what can be executed still can."""
    clones = pytest.importorskip("mlrun.utils.clones")
    path = source.upload(source.pack(project, 1), f"{tmp_path}/artifacts")
    there = clones.extract_source(path, str(tmp_path / "code"))
    assert list((Path(there) / "conf/local").iterdir()) == []
    assert os.access(Path(there) / "run.sh", os.X_OK)
    assert not os.access(Path(there) / "pyproject.toml", os.X_OK)


def test_generated_project() -> None:
    """What a run needs of this very project is in its archive."""
    archive = source.pack(PROJECT, 50)
    package = f"src/{metadata().package_name}"
    needed = {"pyproject.toml", "requirements.lock", "data/01_raw/measurements.csv"}
    needed |= {"conf/base/catalog.yml", "conf/base/mlrun.yml", f"{package}/pipeline_registry.py"}
    assert names(archive) >= needed
    assert not [name for name in names(archive) if name.startswith((".mlrun", ".git/", ".venv"))]


def test_same_files_same_bytes(project: Path, tmp_path: Path) -> None:
    """Neither place nor time matter; content, names and the executable bit do."""
    digests = [source.pack(project, 1).digest]
    copy = tmp_path / "copy"
    shutil.copytree(project, copy, copy_function=shutil.copyfile)
    (copy / "run.sh").chmod(0o700)
    (copy / "pyproject.toml").chmod(0o600)
    os.utime(copy / "run.sh", (1, 1))
    assert source.pack(copy, 1).digest == digests[0]
    for change in (
        lambda: write(copy / "src/iris/__init__.py", "1"),
        lambda: (copy / "run.sh").chmod(0o644),
        lambda: (copy / "run.sh").rename(copy / "go.sh"),
    ):
        change()
        digests.append(source.pack(copy, 1).digest)
    assert len(set(digests)) == 4


def test_credentials(project: Path) -> None:
    """Only references are sent, and of these neither comments nor defaults."""
    refer = "db:\n  user: ${oc.env:USER}\n  password: ${mlrun.secret:DB} # was pa55-phrase\n"
    write(project / "conf/base/credentials.yml", refer)
    write(project / "conf/prod/credentials_s3.yml", "s3: ['${oc.env:KEY,hunter22}']\n")
    write(project / "conf/prod/credentials_gcs.yml", "gcs: {a: b}\npath: ${oc.env:P}#or-hunter22\n")
    write(project / "conf/other/credentials.yml", "a: b\n")
    in_its_own(project)
    archive = source.pack(project, 1, ("base", "prod", "local"))
    assert names(archive) == SENT | {"conf/base/credentials.yml"}
    assert archive.credentials == {"db"}
    left = archive.left_out
    assert "value of s3 is" in left["conf/prod/credentials_s3.yml"]
    assert "value of gcs.a, path is" in left["conf/prod/credentials_gcs.yml"]
    assert "hunter22" not in str(left)
    assert {"conf/other/credentials.yml", "conf/local/credentials.yml", ".env"} <= left.keys()
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as content:
        packed = content.extractfile("conf/base/credentials.yml")
        assert packed
        assert packed.read() == b"db:\n  user: ${oc.env:USER}\n  password: ${mlrun.secret:DB}\n"


def test_another_conf_source(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What settings.py names as CONF_SOURCE is kept back as `conf` is."""
    monkeypatch.setattr("kedro.framework.project.settings", SimpleNamespace(CONF_SOURCE="cfg"))
    (project / "conf").rename(project / "cfg")
    write(project / "cfg/base/credentials.yml", "db: {user: '${oc.env:USER}'}\n")
    in_its_own_folder(project, "cfg")
    archive = source.pack(project, 1)
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as content:
        assert [entry.name for entry in content if entry.isdir()] == ["cfg/local"]
    assert {name for name in archive.files if name.startswith("cfg")} == {
        "cfg/base/catalog.yml",
        "cfg/base/credentials.yml",
    }
    assert archive.credentials == {"db"}


def test_repositories_in_it(project: Path) -> None:
    """A submodule's files are sent as others are, by its own .gitignore."""
    inner = project / "vendored"
    write(inner / "used.py", "")
    write(inner / "notes.txt", "")
    write(inner / ".gitignore", "*.txt\n")
    git(inner, "init", "--quiet")
    commit(inner)
    git(project, "init", "--quiet")
    commit(project)
    assert names(source.pack(project, 1)) == SENT | {"vendored/used.py", "vendored/.gitignore"}


def test_links(project: Path, tmp_path: Path) -> None:
    """A link within the project is one in the job; one that leads out of it is refused."""
    (project / "b.csv").symlink_to(project / "data/01_raw/a.csv")
    (project / ".#lock").symlink_to("user@host.1")
    archive = source.pack(project, 1)
    assert names(archive) == SENT | {"b.csv"}
    assert "no file is there" in archive.left_out[".#lock"]
    path = source.upload(archive, f"{tmp_path}/artifacts")
    clones = pytest.importorskip("mlrun.utils.clones")
    clones.extract_source(path, str(tmp_path / "code"))
    assert (tmp_path / "code/b.csv").read_text() == "x\n1\n"
    for target in (tmp_path / "outside", project / "conf/local/credentials.yml"):
        write(target, "") if not target.exists() else None
        (project / "c").unlink(missing_ok=True)
        (project / "c").symlink_to(target)
        with pytest.raises(source.SubmitError, match=f"c is a link to {target}, which isn't sent"):
            source.pack(project, 1)


# ---- when it isn't sent


@pytest.mark.parametrize(
    "text",
    [
        "password: pa55-phrase",
        "https://me:pa55-phrase@db",
        "key = cGE1NS1waHJhc2U=",
        "t0ken-of-mine",
    ],
)
def test_planted_secret(project: Path, text: str) -> None:
    """File and line are named, and the value isn't."""
    write(project / "src/iris/nodes.py", f"one\n{text}\n")
    with pytest.raises(source.SubmitError, match="src/iris/nodes.py, line 2,") as raised:
        source.pack(project, 1)
    assert text not in raised.value.message


def test_secret_that_a_run_has_registered(project: Path) -> None:
    """As hooks register parameters: one that stands in a committed file is found in it."""
    secrets.register({"model": {"api_key": "k3y-k3y-k3y"}})
    write(project / "conf/base/parameters.yml", "model: {api_key: k3y-k3y-k3y}")
    with pytest.raises(source.SubmitError, match="parameters.yml, line 1"):
        source.pack(project, 1)


def test_what_may_stand_anywhere(project: Path) -> None:
    """Users, ports, regions and words of credentials don't keep the source from being sent."""
    write(
        project / "conf/local/credentials.yml",
        "s3: {region: eu-central-1, endpoint_url: 'http://minio:9000', account: ml-team-1}\n"
        "db: {user: admin, password: password, port: 5432, pin: 123456, key: a1}\n",
    )
    write(project / "src/iris/nodes.py", "eu-central-1 http://minio:9000 admin password 123456 a1")
    write(project / "conf/base/catalog.yml", "ml-team-1 5432")
    assert names(source.pack(project, 1)) == SENT | {"src/iris/nodes.py"}


def test_large_file(project: Path) -> None:
    """The message names file, size, limit and setting."""
    (project / "data/01_raw/b.bin").write_bytes(b"1" * 1_500_001)
    (project / "data/02_models/large.bin").write_bytes(b"1" * 3_000_000)
    with pytest.raises(source.SubmitError) as raised:
        source.pack(project, 1.4)
    assert "data/01_raw/b.bin has 1.5 MB, and no file over 1.4 MB" in raised.value.message
    assert "`largest_file` under `jobs`" in raised.value.message
    assert "data/01_raw/b.bin" in names(source.pack(project, 1.6))


def test_no_git(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 9: what is missing is named, and what helps."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        source.SubmitError, match="^git isn't installed, .* with --local or --source"
    ):
        source.pack(project, 1)


# ---- sending


def test_upload(project: Path, tmp_path: Path) -> None:
    """What is there isn't written again, and nothing else is left beside it."""
    archive = source.pack(project, 1)
    path = Path(source.upload(archive, f"file://{tmp_path}/artifacts/"))
    assert path == tmp_path / "artifacts/source" / f"{archive.digest}.tar.gz"
    assert path.read_bytes() == archive.content
    number = path.stat().st_ino
    os.utime(path, (1, 1))
    assert source.upload(archive, f"{tmp_path}/artifacts") == path.as_posix()
    assert path.stat().st_ino == number
    # It is used, so the deletion of other runs spares it.
    assert path.stat().st_mtime > 1
    assert list(path.parent.iterdir()) == [path]


def test_upload_by_url(project: Path) -> None:
    """Through MLRun's stores: one that has a part of it only gets it anew."""
    import mlrun

    archive = source.pack(project, 1)
    url = source.upload(archive, "memory://artifacts")
    item = mlrun.get_dataitem(url)
    assert item.get() == archive.content
    item.put(b"a part")
    source.upload(archive, "memory://artifacts")
    assert item.get() == archive.content


# ---- a commit


@pytest.fixture
def pushed(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project in a folder of a repository that is pushed, to what looks like a server."""
    bare = tmp_path / "bare.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", bare)
    config = tmp_path / "gitconfig"
    config.write_text(
        f'[url "{bare}"]\n\tinsteadOf = https://me:t0ken@git.test/team/iris.git\n'
        "\tinsteadOf = https://git.test/team/iris.git\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    git(project.parent, "init", "--quiet", "--initial-branch=main")
    git(project.parent, "remote", "add", "origin", "https://me:t0ken@git.test/team/iris.git")
    commit(project.parent)
    git(project.parent, "push", "--quiet", "--set-upstream", "origin", "main")
    yield project


def clone(found: Any, folder: Path) -> Path:
    """Have MLRun clone a source, as a job does."""
    import mlrun.utils.clones

    url, subfolder = found
    return Path(mlrun.utils.clones.extract_source(url, str(folder))) / subfolder


def test_git_source(pushed: Path, tmp_path: Path) -> None:
    """MLRun gets this commit, also when the branch has gone on, without credentials in the URL."""
    found = source.git_source(pushed)
    head = git(pushed, "rev-parse", "HEAD")
    assert found == (f"git://git.test/team/iris.git#refs/commits/{head}", "project")
    write(pushed / "later.txt", "")
    commit(pushed)
    git(pushed, "push", "--quiet")
    there = clone(found, tmp_path / "clone")
    assert (there / "pyproject.toml").exists()
    assert not (there / "later.txt").exists()


def test_git_source_of_a_tag(pushed: Path, tmp_path: Path) -> None:
    """A commit beside the default branch is one that MLRun finds only by a tag."""
    git(pushed, "switch", "--quiet", "--create", "feature")
    write(pushed / "feature.txt", "")
    commit(pushed)
    with pytest.raises(source.SubmitError, match="neither in the default branch 'main'.*git push"):
        source.git_source(pushed)
    git(pushed, "push", "--quiet", "--set-upstream", "origin", "feature")
    with pytest.raises(source.SubmitError, match="nor a tag there.*push a tag"):
        source.git_source(pushed)
    git(pushed, "tag", "--annotate", "--message=v1", "v1")
    git(pushed, "push", "--quiet", "origin", "v1")
    found = source.git_source(pushed)
    assert found[0] == "git://git.test/team/iris.git#v1"
    assert (clone(found, tmp_path / "clone") / "feature.txt").exists()


def test_git_source_refused(pushed: Path) -> None:
    """What a job would get must be what is here, and there must be a place to get it from."""
    write(pushed / "new.txt", "")
    with pytest.raises(source.SubmitError, match="differs from the last commit.*new.txt"):
        source.git_source(pushed)
    (pushed / "new.txt").unlink()
    git(pushed, "remote", "set-url", "origin", pushed.parents[1] / "bare.git")
    with pytest.raises(source.SubmitError, match="clones by https alone"):
        source.git_source(pushed)
    git(pushed, "remote", "set-url", "origin", "https://git.test.invalid/iris.git")
    with pytest.raises(source.SubmitError, match="git ls-remote fails in .*git.test.invalid"):
        source.git_source(pushed)
    git(pushed, "remote", "remove", "origin")
    with pytest.raises(source.SubmitError, match="remote 'origin' is not there"):
        source.git_source(pushed)
    shutil.rmtree(pushed.parent / ".git")
    with pytest.raises(source.SubmitError, match="not a git repository"):
        source.git_source(pushed)

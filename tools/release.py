"""Makes a release: a commit with its version, dist/, and a tag.

With --check it tells whether that can be done, with --build it makes dist/ alone.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parents[1]
# The one place that has the version; hatchling, hooks/origin.py and `kedro mlrun` read it there.
SOURCE = ROOT / "{{ cookiecutter.repo_name }}" / "src" / "kedro_mlrun" / "__init__.py"
CHANGELOG = ROOT / "CHANGELOG.md"
VERSION = re.compile(r'(?m)^__version__ = "(.+)"')
# What was added since the last release has the first one.
SECTION = re.compile(r"(?ms)^(?P<title>## [^\n]*)\n(?P<text>.*?)(?=^## |\Z)")
UNRELEASED = re.compile(r"(?i)## \[.+\](?: - unreleased)?")


def ready(asked: str) -> Version:
    """Give the version, if it can be released; what takes minutes comes afterwards."""
    version = spelled(asked)
    if git("status", "--porcelain"):
        sys.exit("Some changes are not committed. Commit them first.")
    if git("tag", "--list", f"v{version}"):
        sys.exit(f"There is a tag v{version} already. Choose another version.")
    # Of this branch: one for fixes of an older version has later ones beside it.
    tags = git("tag", "--merged", "HEAD", "--list", "v[0-9]*").split()
    if tags and version < (last := max(Version(tag) for tag in tags)):
        sys.exit(f"{version} is before {last}, which is released. Choose a later version.")
    section = SECTION.search(CHANGELOG.read_text(encoding="utf-8"))
    title = section["title"] if section else ""
    if not (UNRELEASED.fullmatch(title) or title.startswith(f"## [{version}] - 2")):
        sys.exit(f"CHANGELOG.md begins with no section [Unreleased]. Say what {version} brings.")
    if not re.search(r"(?m)^[-*] ", section["text"]):
        sys.exit(f"The first section of CHANGELOG.md is empty. Say there what {version} brings.")
    return version


def release(version: Version) -> None:
    """Write the version and the changelog's date, commit, build, and tag; in this order."""
    text = CHANGELOG.read_text(encoding="utf-8")
    title = SECTION.search(text)["title"]
    # What a test release brings is not released yet.
    if UNRELEASED.fullmatch(title) and not version.is_prerelease:
        dated = f"## [{version}] - {datetime.now(UTC):%Y-%m-%d}"
        CHANGELOG.write_text(text.replace(title, dated, 1), encoding="utf-8")
    source = SOURCE.read_text(encoding="utf-8")
    SOURCE.write_text(VERSION.sub(f'__version__ = "{version}"', source), encoding="utf-8")
    run(sys.executable, "manifest.py")
    if git("status", "--porcelain"):
        git("commit", "--quiet", "--all", f"--message=Version {version}")
    build()
    git("tag", "--annotate", f"v{version}", f"--message=Version {version}")
    print(f"Tagged v{version}. To publish it: git push origin HEAD v{version}")


def spelled(asked: str) -> Version:
    """Give a version as Python's packages spell it: 1.0.0-rc.1 is 1.0.0rc1, 1.0.0-test a .dev0."""
    if not asked:
        sys.exit("Name the version: make release VERSION=0.3.0")
    tried = re.fullmatch(r"(\d+\.\d+\.\d+)-[a-z]+", asked)
    try:
        version = Version(asked)
    except InvalidVersion:
        version = Version(f"{tried[1]}.dev0") if tried else None
    # Each run has it as a label, where Kubernetes allows no "+".
    if not version or version.local or version.epoch or len(version.release) != 3:  # noqa: PLR2004
        sys.exit(f"{asked} is no version such as 0.3.0, 0.3.0rc1 or 0.3.0-test. Choose another.")
    return version


def build() -> None:
    """Build this commit's wheel, archive, bill of materials and checksums, always the same."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()
    version = VERSION.search(SOURCE.read_text(encoding="utf-8"))[1]
    name = f"kedro-mlrun-starter-{version}"
    epoch = {"SOURCE_DATE_EPOCH": git("log", "-1", "--format=%ct")}
    run(
        sys.executable, "-m", "hatchling", "build", "--target=wheel", f"--directory={dist}", **epoch
    )
    git("archive", f"--prefix={name}/", f"--output={dist / name}.tar.gz", "HEAD")
    materials = run(sys.executable, "tools/locked.py", "--sbom", version)
    (dist / f"{name}.cdx.json").write_text(f"{materials}\n", encoding="utf-8")
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in dist.iterdir()}
    lines = [f"{sums[each]}  {each}\n" for each in sorted(sums)]
    (dist / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    print("dist/ has:", *(f"  {each.name}" for each in sorted(dist.iterdir())), sep="\n")


def git(*arguments: str) -> str:
    """Run git, and give what it says."""
    return run("git", *arguments)


def run(*command: str, **variables: str) -> str:
    """Run a command here; end with its own words if it fails."""
    env = {**os.environ, **variables}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} failed.\n{done.stderr or done.stdout}".strip())
    return done.stdout.strip()


if __name__ == "__main__":
    if sys.argv[1:] == ["--build"]:
        build()
    else:
        asked = os.environ.get("VERSION", "")
        version = ready(asked)
        if sys.argv[1:] != ["--check"]:
            release(version)
        elif str(version) != asked:
            print(f"{asked} is {version} in Python's spelling (PEP 440).")

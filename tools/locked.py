"""Lists the licences of requirements.lock, or writes its bill of materials: --sbom VERSION."""

import json
import re
import sys
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).parents[1] / "{{ cookiecutter.repo_name }}" / "requirements.lock"
# What their metadata doesn't tell, or only where they are installed: on another system.
TOLD = {
    "appnope": "BSD-2-Clause",
    "cffi": "MIT",
    "colorama": "BSD-3-Clause",
    "cookiecutter": "BSD-3-Clause",
    "pycparser": "BSD-3-Clause",
}
# Those whose conditions a project may fulfil without publishing its own code.
EXPECTED = re.compile(r"Apache|Artistic|BSD|HPND|ISC|MIT|Mozilla|MPL|PSF|Python Software|Zlib")


def locked() -> list[Requirement]:
    """Give the packages of the lock, each with its exact version."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def installed(name: str) -> PackageMetadata | None:
    """Give what an installed package says of itself."""
    try:
        return metadata(name)
    except PackageNotFoundError:
        return None


def licence(name: str) -> str:
    """Give a package's licence as it names it: an SPDX expression, classifiers, or free text."""
    if name in TOLD or not (about := installed(name)):
        return TOLD.get(name, "")
    classifiers = about.get_all("Classifier", [])
    classified = [text.split(" :: ")[-1] for text in classifiers if text.startswith("License ::")]
    whole = (about.get("License") or "").strip().partition("\n")[0]
    return about.get("License-Expression") or " or ".join(classified) or whole


def is_expected(said: str) -> bool:
    """Whether one of the licences to choose from has only parts that are expected."""
    choices = re.split(r" or ", said, flags=re.IGNORECASE)
    return any(all(map(EXPECTED.search, re.split(" AND ", choice))) for choice in choices)


def bill(version: str) -> dict[str, object]:
    """Give CycloneDX's bill of materials: what a project of this version is made to run with."""
    packages = {canonicalize_name(each.name): each for each in locked()}

    def purl(package: Requirement) -> str:
        return f"pkg:pypi/{canonicalize_name(package.name)}@{exact(package)}"

    def component(package: Requirement) -> dict[str, object]:
        said = licence(package.name)
        about = installed(package.name)
        is_spdx = about and about.get("License-Expression") == said
        return {
            "type": "library",
            "bom-ref": purl(package),
            "name": package.name,
            "version": exact(package),
            "purl": purl(package),
            "licenses": [{"expression": said} if is_spdx else {"license": {"name": said}}],
            "scope": "optional" if package.marker else "required",
        }

    def needs(package: Requirement) -> list[str]:
        about = installed(package.name)
        asked = map(Requirement, about.get_all("Requires-Dist", []) if about else [])
        names = {canonicalize_name(each.name) for each in asked if not is_for_others(each)}
        return sorted(purl(packages[name]) for name in names & packages.keys())

    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "starter",
                "name": "kedro-mlrun-starter",
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": [component(each) for each in locked()],
        "dependencies": [
            {"ref": "starter", "dependsOn": [purl(each) for each in locked()]},
            *({"ref": purl(each), "dependsOn": needs(each)} for each in locked()),
        ],
    }


def exact(package: Requirement) -> str:
    """Give the version that the lock has of it."""
    [only] = package.specifier
    return only.version


def is_for_others(requirement: Requirement) -> bool:
    """Whether it is asked for with an extra only, or on another system."""
    return bool(requirement.marker) and not requirement.marker.evaluate({"extra": ""})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--sbom"]:
        print(json.dumps(bill(sys.argv[2]), indent=1))
    else:
        rows = [f"| {each.name} | {licence(each.name)} |" for each in locked()]
        print("| package | licence |", "|---|---|", *rows, sep="\n")

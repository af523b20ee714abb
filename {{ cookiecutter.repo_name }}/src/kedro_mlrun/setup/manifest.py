"""Which files of this package somebody has changed: the starter's manifest.py hashes each."""

import hashlib
import json
from pathlib import Path

from .. import __version__

PACKAGE = Path(__file__).parents[1]
MANIFEST = "manifest.json"


def version() -> str:
    """Give the package's version, and which of its files were changed."""
    changed = ", ".join(changed_files())
    return f"kedro_mlrun {__version__}, {f'changed: {changed}' if changed else 'unchanged'}"


def changed_files(folder: Path = PACKAGE) -> list[str]:
    """Name the files that were changed, added or removed since the package was released."""
    try:
        released = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [MANIFEST]
    found = hashes(folder)
    names = released.keys() | found.keys()
    return sorted(name for name in names if released.get(name) != found.get(name))


def hashes(folder: Path = PACKAGE) -> dict[str, str]:
    """Hash each file of the package, by its path, however git has set its line endings."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    return {
        name: hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
        for name, path in files.items()
        # The wheel has the starter inside of the package.
        if not name.endswith((MANIFEST, ".pyc"))
        and not name.startswith("starter/")
        and path.is_file()
    }

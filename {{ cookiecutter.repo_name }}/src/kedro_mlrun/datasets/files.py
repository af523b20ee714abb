"""The files of artifacts, read if they are what was recorded."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from kedro.io import DatasetError

from ..lazy import mlrun
from ..store.rows import Record


def write(url: str, content: bytes) -> None:
    """Write a file, here or where a URL leads to."""
    if "://" in url:
        mlrun.get_dataitem(url).put(content)
    else:
        Path(url).write_bytes(content)


@contextmanager
def verified_file(
    artifact: Record, file: str = "", hash_needed: bool = True, recorded: str | None = None
) -> Iterator[BinaryIO]:
    """Open an artifact's file, or another one of it, once it is found to have the recorded hash."""
    path = file or artifact["spec"].get("target_path") or ""
    recorded = artifact["metadata"].get("hash") if recorded is None else recorded
    try:
        stream = _opened(path, None if file else artifact["spec"].get("inline"))
    except FileNotFoundError:
        gone = f"its file {path} is gone. Restore it, or save the artifact anew"
        raise DatasetError(gone) from None
    with stream:
        # SHA-1, for that is what MLRun records. Made-up bytes with a given one are out of reach.
        found = hashlib.file_digest(stream, "sha1").hexdigest()  # type: ignore[arg-type]
        if found != recorded and (recorded or hash_needed):
            raise DatasetError(
                f"{path} has the hash {found} and not {recorded}, which was recorded for it, so it "
                "isn't read. Restore the file, or save the artifact anew"
            )
        # What is read is this very file, though another may have its name by now.
        stream.seek(0)
        yield stream


def _opened(path: str, inline: str | bytes | None) -> BinaryIO:
    if inline is not None:
        return io.BytesIO(inline.encode() if isinstance(inline, str) else inline)
    if "://" not in path:
        return Path(path).open("rb")
    item = mlrun.get_dataitem(path)
    return Path(item.local()).open("rb") if item.kind == "file" else io.BytesIO(item.get())


def verified_bytes(
    artifact: Record, file: str = "", hash_needed: bool = True, recorded: str | None = None
) -> bytes:
    """Read an artifact's bytes, or those of its file, that have the recorded hash."""
    with verified_file(artifact, file, hash_needed, recorded) as stream:
        return stream.read()

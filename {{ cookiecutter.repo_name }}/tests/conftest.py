"""Settings of all tests: runs are recorded in a temporary store, and nothing is sent."""

import atexit
import os
import shutil
import tempfile

# Before any test imports MLRun, which reads its settings then.
for name in list(os.environ):
    if name.startswith(("MLRUN_", "KEDRO_ENV")):
        del os.environ[name]
STORE = tempfile.mkdtemp(prefix="kedro-tests-")
atexit.register(shutil.rmtree, STORE, ignore_errors=True)
os.environ.update(
    MLRUN_IGNORE_ENV_FILE="true",
    MLRUN_DBPATH=f"sqlite:///{STORE}/mlrun.db",
    MLRUN_ARTIFACT_PATH=f"{STORE}/artifacts",
    DO_NOT_TRACK="true",
)

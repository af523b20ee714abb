"""What all tests share: nothing is recorded where a person records, and nothing is sent."""

import os

for name in list(os.environ):
    if name.startswith(("MLRUN_", "KEDRO_ENV")):
        del os.environ[name]
os.environ.update(MLRUN_IGNORE_ENV_FILE="true", DO_NOT_TRACK="true")

"""Write the package's manifest, by which a project knows what was changed in it; or --check it."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("{{ cookiecutter.repo_name }}") / "src"))

from kedro_mlrun.setup import manifest  # noqa: E402

if "--check" not in sys.argv:
    text = json.dumps(manifest.hashes(), indent=1)
    (manifest.PACKAGE / manifest.MANIFEST).write_text(f"{text}\n", encoding="utf-8")
elif changed := manifest.changed_files():
    sys.exit(f"{manifest.MANIFEST} doesn't fit {', '.join(changed)}. Write it anew: make fix")

"""Make docs/images anew, from the real terminal and the real page: needs chromium.

    .venv/bin/python docs/screenshots.py

Not a part of `make docs`, for ids and times differ each time. Run it when they show what is gone.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from cookiecutter.main import cookiecutter
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
KEDRO = Path(sys.executable).with_name("kedro")
WIDTH = 100  # columns of the terminal
# Rich's own format fetches a font.
SVG = re.sub(r"@font-face {{.*?}}\s+|<!--.*?-->", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
RUNS = [
    [],
    ["--params=xgboost.model.arguments.max_depth=2"],
    ["--params=xgboost.model.arguments.learning_rate=0.3"],
]


def kedro(project: Path, *words: str) -> str:
    """Type a command in a terminal, and give what it prints."""
    env = {**os.environ, "PYTHONPATH": "src", "DO_NOT_TRACK": "1", "FORCE_COLOR": "1"}
    env |= {"COLUMNS": str(WIDTH), "PATH": f"{KEDRO.parent}:{os.environ['PATH']}"}
    command = [KEDRO, *words]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout


def draw(name: str, command: str, printed: str) -> None:
    """Draw a terminal."""
    with open(os.devnull, "w") as nothing:
        console = Console(record=True, width=WIDTH, file=nothing, force_terminal=True)
        console.print(Text.from_ansi(f"$ {command}\n{printed.strip()}"))
        text = console.export_svg(title="", code_format=SVG, unique_id=name)
    (IMAGES / f"{name}.svg").write_text(text, encoding="utf-8")


@contextmanager
def page(project: Path) -> Iterator[str]:
    """Serve the page, and give its address."""
    env = {**os.environ, "PYTHONPATH": "src", "DO_NOT_TRACK": "1"}
    command = [KEDRO, "mlrun", "ui", "--json"]
    with subprocess.Popen(command, cwd=project, env=env, stdout=subprocess.PIPE) as server:  # noqa: S603
        try:
            lines = iter(server.stdout.readline, b"") if server.stdout else iter(())
            yield json.loads(next(line for line in lines if b'{"url"' in line))["url"]
        finally:
            server.terminate()


def photograph(name: str, address: str, height: int) -> None:
    """Let the browser draw a page."""
    browser = next(
        filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"]))
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += [f"--window-size=1100,{height}", "--virtual-time-budget=5000"]
    shot = f"--screenshot={IMAGES / name}.png"
    subprocess.run([browser, *options, shot, address], capture_output=True, check=True)  # noqa: S603


def main() -> None:
    """Run a project three times, and look at it."""
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        project = Path(cookiecutter(str(ROOT), no_input=True, output_dir=folder))
        for words in RUNS:
            kedro(project, "run", *words)
        compare = "mlrun compare last~1 last"
        draw("compare", f"kedro {compare}", kedro(project, *compare.split()))
        uids = [run["uid"] for run in json.loads(kedro(project, "mlrun", "runs", "--json"))]
        with page(project) as address:
            photograph("page", f"{address}compare?id={','.join(uids)}", 690)


if __name__ == "__main__":
    main()

"""Removes the modules that pip compiled where the starter is installed."""

import shutil
from pathlib import Path

for folder in Path().rglob("__pycache__"):
    shutil.rmtree(folder)

"""A Kedro project in which every run is an MLRun run."""

__version__ = "0.1.0"

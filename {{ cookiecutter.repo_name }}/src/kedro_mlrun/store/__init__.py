"""MLRun's run database on this machine: SQLite below, MLRun's interface above."""

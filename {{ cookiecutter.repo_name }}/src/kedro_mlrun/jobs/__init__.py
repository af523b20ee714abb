"""How a run is started elsewhere: as an MLRun job."""

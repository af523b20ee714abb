"""What `kedro mlrun …` can do."""

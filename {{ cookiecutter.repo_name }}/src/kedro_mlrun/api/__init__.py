"""A team's MLRun API: reach it, fall back, push."""

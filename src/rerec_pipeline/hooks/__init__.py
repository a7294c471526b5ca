"""Kedro hooks: missing or stale inputs, MLflow, the summary of a run."""

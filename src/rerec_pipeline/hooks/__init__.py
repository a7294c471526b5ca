"""Kedro hooks: missing or stale inputs, MLflow, several processes, the summary of a run."""

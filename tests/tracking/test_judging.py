"""Judging answers: what is said where MLflow can not evaluate."""

import pytest

from rerec_pipeline.errors import ReRecError
from rerec_pipeline.tracking.judging import judge
from rerec_pipeline.tracking.tracker import Tracker


def test_without_an_active_run_the_error_says_so(monkeypatch):
    monkeypatch.setattr(Tracker, "current", None)
    with pytest.raises(ReRecError, match="no MLflow run is active"):
        judge(None, [])

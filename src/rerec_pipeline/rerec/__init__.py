"""The paper's three ideas as pure functions: reward, advantage, curriculum.

Nothing here knows Kedro, MLflow, transformers, TRL or any file.
"""

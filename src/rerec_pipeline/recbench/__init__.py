"""RecBench+ as a task: records, titles, candidates, prompts, answers and their scoring.

Nothing here knows Kedro, MLflow, transformers or TRL.
"""

"""What is on disk: one way to write, one record of what a file is, one writer at a time.

Nothing is imported here, so that the parts without Kedro stay light.
"""

"""Both graphs at the time of answering: linking, retrieval, evidence."""

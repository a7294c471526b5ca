"""A recommendation assistant: link, retrieve, reason, check. Knows neither Kedro nor HTTP."""

"""What a data set consists of, counted."""

import pandas as pd

from rerec_pipeline.reporting import plots
from rerec_pipeline.reporting.data_tables import (
    confirm_conditions,
    count_exclusions,
    count_queries,
    degree_counts,
    degree_summary,
    fact_counts,
)

QUERIES = pd.DataFrame(
    {
        "query_id": ["a", "b", "c"],
        "query_type": ["explicit", "explicit", "implicit"],
        "conditions": [["Genre: Drama"], ["Genre: Drama"], []],
        "truth_ids": [[1], [1, 2], [3]],
        "label_complete": [True, False, True],
        "condition_num": pd.array([1, None, 2], dtype="Int64"),
    }
)
SPLITS = pd.DataFrame({"query_id": ["a", "b"], "split": ["train", "test"], "stratum": ["", ""]})


def test_queries_are_counted_by_type_conditions_and_split():
    assert count_queries(QUERIES, SPLITS).to_dict("records") == [
        {
            "query_type": "explicit", "conditions": 1, "train": 1, "validation": 0, "test": 1,
            "right_items": 1.5, "states_conditions": 2, "incomplete_labels": 1,
        }
    ]  # fmt: skip


def test_exclusions_come_most_frequent_first():
    table = count_exclusions({"b": 1, "a": 1}, {"c": 5}, {})
    assert table.to_numpy().tolist() == [["c", 5], ["a", 1], ["b", 1]]
    assert count_exclusions({}).empty


def test_a_condition_is_confirmed_for_each_right_item():
    facts = pd.DataFrame({"item_id": [1, 3], "relation": "Genre", "value": "Drama"})
    assert confirm_conditions(QUERIES, facts).to_dict("records") == [
        {"relation": "Genre", "stated": 3, "confirmed": 2}
    ]


def test_degrees():
    degrees = degree_counts(pd.Series(["u", "u", "v", "w"]), "users")
    assert degrees.to_numpy().tolist() == [["users", 1, 2], ["users", 2, 1]]
    assert degree_summary(degrees) == {"users": {"nodes": 3, "mean_degree": 4 / 3, "max_degree": 2}}
    figure = plots.degree_distributions(degrees)
    assert list(figure.data[0].y) == [1.0, 1 / 3]  # all have at least one, a third has two


def test_facts_by_source():
    files = pd.DataFrame({"source": ["x", "x", "y"]})
    graph = pd.DataFrame({"relation": ["Genre", "Genre"], "sources": ["x; y", "x"]})
    assert fact_counts(files, pd.DataFrame({"source": ["q"]}), graph) == {
        "facts_by_source": {"q": 1, "x": 2, "y": 1},
        "edges_by_relation": {"Genre": 2},
        "edges": 2,
        "edges_of_several_sources": 1,
    }


def test_plots_of_nothing_say_so():
    empty = pd.DataFrame({"reason": [], "count": [], "relation": [], "stated": [], "confirmed": []})
    assert "nothing was excluded" in str(plots.exclusions_by_reason(empty))
    assert "no query states a condition" in str(plots.conditions_confirmed(empty))

"""Reading raw files and records: every malformed input is an error that says where."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerec_pipeline.errors import BadInputError, ReRecError
from rerec_pipeline.recbench import reading
from rerec_pipeline.recbench.records import (
    QUERY_TYPES,
    Exclusions,
    Fact,
    RecordReader,
    count_unanswerable,
)
from rerec_pipeline.recbench.relations import canonical_relation
from rerec_pipeline.recbench.splits import stratum_of
from rerec_pipeline.recbench.titles import ItemIndex

CATALOGUE = ItemIndex([1, 2, 3, 4], ["A (1990)", "B, The (1991)", "R (1950)", "R (1999)"])


def read(query_type, records, exclusions=None, exclude_unknown=False):
    reader = RecordReader(
        query_type, CATALOGUE, "file.json", exclusions or Exclusions(), exclude_unknown
    )
    return list(reader.read(records))


EXPLICIT = {
    "data_idx": 7,
    "source_user": "12",
    "condition_num": 1,
    "movieSubset": ["A (1990)"],
    "movieSubsetId": [1],
    "sharedRelationships": [["Directed_by", "Ann"]],
    "situational_description_query": " Something by Ann? ",
}
PROFILE = {
    "data_idx": 3,
    "group": "25-34",
    "query & ground true": [
        {},
        {"query": "First?", "movie subset": ["The B (1991)"]},
        {"query": "Second?", "movie subset": ["A", "B, The (1991)", "A (1990)"]},
    ],
}


class TestRecords:
    def test_explicit(self):
        (query,) = read("explicit", [EXPLICIT])
        assert query.query_id == "explicit-7"
        assert query.text == "Something by Ann?"
        assert query.truth_ids == (1,)
        assert query.conditions == (("Directed_by", "Ann"),)
        assert (query.user_id, query.label_complete, query.history) == ("12", True, ())

    def test_misinformed_keeps_what_is_claimed(self):
        record = {
            **EXPLICIT,
            "query": "Bob directed A. More?",
            "multihop_info": [{"movie": "A_(1990)", "relation": "director", "person": "Ann"}],
            "misinformed": [
                {
                    "movie": "A (1990)",
                    "relation": "Directed_by",
                    "original person": "Ann",
                    "person": "Bob",
                }
            ],
        }
        (query,) = read("misinformed", [record])
        assert query.text == "Bob directed A. More?"
        assert query.multihop == (Fact("A_(1990)", "Directed_by", "Ann"),)
        assert query.claims == (Fact("A (1990)", "Directed_by", "Bob"),)

    def test_profile_records_are_numbered_among_the_non_empty_ones(self):
        exclusions = Exclusions()
        first, second = read("demographics", [PROFILE], exclusions)
        assert (first.query_id, second.query_id) == ("demographics-3-0", "demographics-3-1")
        assert (first.truth_ids, second.truth_ids) == ((2,), (1, 2))
        assert first.group == "25-34"
        assert exclusions.counts == {"demographics: empty inner record": 1}

    def test_books(self):
        record = {
            **EXPLICIT,
            "bookSubset": ["A (1990)"],
            "sharedRelationships": [["WRITTEN_BY", "X"]],
        }
        del record["movieSubset"], record["movieSubsetId"]
        assert read("explicit", [record])[0].conditions == (("Written_by", "X"),)

    def test_a_truth_that_fits_two_items_is_counted_not_guessed(self):
        exclusions = Exclusions()
        record = {**EXPLICIT, "movieSubset": ["R"], "movieSubsetId": None}
        assert read("explicit", [record], exclusions) == []
        assert exclusions.counts == {"explicit: a ground-truth title fits two items": 1}

    def test_an_unknown_truth_is_counted_where_the_benchmark_is_dirty(self):
        exclusions = Exclusions()
        record = {**EXPLICIT, "movieSubset": ["Z"], "movieSubsetId": None}
        assert read("explicit", [record], exclusions, exclude_unknown=True) == []
        assert exclusions.counts == {"explicit: a ground-truth title is not in the catalogue": 1}

    def test_a_truth_that_no_box_can_hold_cannot_be_asked_for(self):
        odd = ItemIndex([1, 2, 3, 4], ["A}", r"\text{B}", "Good", "Good"])
        exclusions = Exclusions()
        count_unanswerable(odd, exclusions)
        assert exclusions.counts == {
            "no candidate: the title cannot stand in \\boxed{}": 2,
            "no candidate: another item has the same title": 2,
        }
        reader = RecordReader("explicit", odd, "file.json", exclusions)
        for change in ({"movieSubsetId": [1, 2]}, {"movieSubset": ["A}"], "movieSubsetId": None}):
            assert list(reader.read([{**EXPLICIT, **change, "data_idx": str(change)}])) == []
        reason = "explicit: a ground-truth title cannot stand in \\boxed{}"
        assert exclusions.counts[reason] == 2

    @pytest.mark.parametrize(
        ("change", "field", "problem"),
        [
            ({"data_idx": None}, "data_idx", None),
            ({"movieSubsetId": [99]}, "movieSubsetId", "item 99 is not in the catalogue"),
            ({"movieSubsetId": []}, "movieSubsetId", "non-empty"),
            (
                {"movieSubsetId": None, "movieSubset": ["Z"]},
                "movieSubset",
                "'Z' is not in the catalogue",
            ),
            ({"movieSubsetId": None, "movieSubset": []}, "movieSubset", "non-empty"),
            ({"movieSubsetId": None, "movieSubset": [5]}, "movieSubset", "expected a title"),
            (
                {"situational_description_query": ""},
                "situational_description_query",
                "expected a text",
            ),
            (
                {"sharedRelationships": [["Directed_by"]]},
                "sharedRelationships",
                "[relation, value]",
            ),
            ({"sharedRelationships": [["Hairdresser", "X"]]}, "relation", "unknown relation"),
            ({"multihop_info": [{"movie": "A"}]}, "multihop_info", "relation and person"),
            ({"source_user": []}, "source_user", "a text or null"),
            ({"history_movie_ids": [1, 77]}, "history_movie_ids", "77 is not in the catalogue"),
            ({"history_movie_ids": 3}, "history_movie_ids", "expected a list"),
            ({"condition_num": "two"}, "condition_num", "expected a number of conditions"),
            ({"label_complete": "no"}, "label_complete", "expected true or false"),
            ({"data_idx": True}, "data_idx", "a number or a text"),
            ({"data_idx": " "}, "data_idx", "a number or a text"),
            ({"source_user": True}, "source_user", "a text or null"),
            ({"situational_description_query": "\0"}, "situational_description_query", "a text"),
            ({"situational_description_query": "a\0b"}, "situational_description_query", "a text"),
            *(
                ({"sharedRelationships": [["Directed_by", value]]}, "sharedRelationships", problem)
                for value, problem in (
                    (None, "a relation and its value"),
                    ([None], "a relation and its value"),
                    (float("inf"), "a relation and its value"),
                    (True, "a relation and its value"),
                    (" _ ", "the value is empty"),
                )
            ),
            (
                {"multihop_info": [{"movie": "A", "relation": "director", "person": None}]},
                "multihop_info",
                "a relation and its value",
            ),
            (
                {"multihop_info": [{"movie": None, "relation": "director", "person": "X"}]},
                "multihop_info",
                "relation and person",
            ),
        ],
    )
    def test_malformed(self, change, field, problem):
        record = {**EXPLICIT, **change}
        if change == {"data_idx": None}:
            del record["data_idx"]
        with pytest.raises(BadInputError) as caught:
            read("explicit", [{**EXPLICIT, "data_idx": 1}, record])
        assert caught.value.field == field
        assert "file.json, record 1" in str(caught.value)
        assert problem is None or problem in str(caught.value)

    def test_a_truth_whose_title_another_item_has_cannot_be_asked_for(self):
        twins = ItemIndex([1, 2, 3], ["Dreams", "Dreams", "Other"], ["B1", "B2", "B3"])
        exclusions = Exclusions()
        reader = RecordReader("explicit", twins, "file.json", exclusions)
        record = {**EXPLICIT, "bookSubsetId": ["B1", "B3"]}
        del record["movieSubsetId"]
        assert [q.truth_ids for q in reader.read([record])] == [(3,)]
        assert list(reader.read([{**record, "data_idx": 8, "bookSubsetId": ["B1"]}])) == []
        assert exclusions.counts == {"explicit: a ground-truth title fits two items": 1}

    def test_a_record_may_have_conditions_that_it_does_not_state(self):
        (query,) = read("explicit", [{**EXPLICIT, "sharedRelationships": [], "condition_num": 2}])
        assert (query.conditions, query.n_conditions) == ((), 2)
        assert stratum_of(query) == "explicit/2"

    def test_duplicate_id(self):
        with pytest.raises(BadInputError, match="the id 7 occurs twice"):
            read("explicit", [EXPLICIT, EXPLICIT])

    def test_unknown_query_type_names_the_known_ones(self):
        with pytest.raises(BadInputError, match="Known query types: explicit"):
            read("riddle", [])

    @pytest.mark.parametrize("records", [{"a": 1}, [1], "x", None])
    def test_not_a_list_of_objects(self, records):
        with pytest.raises(BadInputError):
            read("explicit", records)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(QUERY_TYPES),
    st.dictionaries(
        st.sampled_from(sorted({*EXPLICIT, *PROFILE, "multihop_info", "label_complete"})), JSON
    ),
    st.booleans(),
)
def test_fuzzed_records_never_crash_with_anything_but_our_own_error(query_type, changes, profile):
    record = {**(PROFILE if profile else EXPLICIT), **changes}
    try:
        for query in read(query_type, [record]):
            assert query.truth_ids
            assert query.text
    except ReRecError as error:
        assert "file.json" in str(error)


class TestFiles:
    def test_items(self):
        items, kinds = reading.read_items("1::A (1990)::Drama|War\r\n\n2::B, The::\n", "movies.dat")
        assert items == [
            {"item_id": 1, "raw_id": "1", "title": "A (1990)", "year": 1990},
            {"item_id": 2, "raw_id": "2", "title": "B, The", "year": None},
        ]
        assert [k["kind"] for k in kinds] == ["Drama", "War"]

    def test_items_with_ids_that_are_no_numbers_are_numbered_in_order(self):
        items, kinds = reading.read_items("B00X::A::Art|Art\n0007::B::Art\n", "books.dat")
        assert [(i["item_id"], i["raw_id"]) for i in items] == [(1, "B00X"), (2, "0007")]
        assert kinds == [{"item_id": 1, "kind": "Art"}, {"item_id": 2, "kind": "Art"}]

    @pytest.mark.parametrize("odd", ["007", "٣", "1_0", "+7", "9" * 5000])
    def test_an_id_is_a_text_unless_all_are_plain_numbers(self, odd):
        items, _ = reading.read_items(f"7::A::x\n{odd}::B::x\n3::C::x", "movies.dat")
        assert [(i["item_id"], i["raw_id"]) for i in items] == [(1, "7"), (2, odd), (3, "3")]

    @pytest.mark.parametrize(
        ("text", "where", "problem"),
        [
            ("1::A", "line 1", "expected 3 fields"),
            ("1::A::x\n ::B::y", "line 2, field 'ItemID'", "the id is empty"),
            ("1::A::x\n1::B::y", "line 2, field 'ItemID'", "already used in line 1"),
            ("1:: ::x", "line 1, field 'Title'", "empty"),
            ("", "movies.dat", "no items"),
        ],
    )
    def test_malformed_items(self, text, where, problem):
        with pytest.raises(BadInputError) as caught:
            reading.read_items(text, "movies.dat")
        assert "movies.dat" in str(caught.value)
        assert where in str(caught.value)
        assert problem in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("1::F::old::3::0", "found 'old'"),
            ("1::F::25::3::0\n1::M::25::3::0", "occurs twice"),
            ("\n", "the file has no users. Delete it"),
            ("1::x::25::3::0", "line 1, field 'Gender': expected F or M, found 'x'"),
            ("1::F::25::-3::0", "field 'Occupation': expected a whole number, found '-3'"),
            ("1::F::٣::3::0", "field 'Age': expected a whole number"),
            ("1::F::25::" + "9" * 5000 + "::0", "field 'Occupation': expected a whole number"),
            (" ::F::25::3::0", "field 'UserID': the id is empty"),
        ],
    )
    def test_malformed_users(self, text, problem):
        with pytest.raises(BadInputError, match=problem):
            reading.read_users(text, "users.dat")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "header"),
            ("item,relation\n", "header"),
            ("item,relation,value\n1,director", "expected 3 fields"),
            ("item,relation,value\n9,director,X", "not in the items file"),
            ("item,relation,value\n1,hairdresser,X", "unknown relation 'hairdresser'"),
            ("item,relation,value\n1,director, ", "empty"),
            ("item,relation,value\n1,director,\u200b", "empty"),
            ("item,relation,value\n1,director,a\rb\n", "line 3: expected 3 fields, found 1"),
            ('item,relation,value\n1,director,"a\n1,director,b\n', "not CSV"),
            ("item,relation,value\n1,director," + "a" * 140_000, "line 2: not CSV .*limit"),
        ],
    )
    def test_malformed_attributes(self, text, problem):
        with pytest.raises(BadInputError, match=problem):
            reading.read_attributes(text, "item_attributes.csv", {"1": 1})

    def test_relations_have_one_name(self):
        rows = reading.read_attributes(
            'movie_id,relation,name\n1,director,"X,  Y"\n', "f", {"1": 1}
        )
        assert rows == [{"item_id": 1, "relation": "Directed_by", "value": "X, Y"}]
        for spelling in ("Genre", "genres", "Genre(s)", "GENRE"):
            assert canonical_relation(spelling, source="f") == "Genre"

    def test_broken_json_names_the_line(self):
        with pytest.raises(BadInputError, match="line 2, column"):
            reading.read_json('{"a": 1,\n oops}', "q.json")

    @pytest.mark.parametrize("text", [r'["\ud800"]', "[" * 100_000, "[" + "9" * 5000 + "]"])
    def test_json_that_python_cannot_hold_is_our_error(self, text):
        with pytest.raises(BadInputError, match=r"q\.json"):
            reading.read_json(text, "q.json")

    @pytest.mark.parametrize(
        "value",
        [r'"\ud800"', "[" * 100_000, "9" * 5000, "NaN", "-Infinity", '{"b": 1, "b": 2}', "oops"],
    )
    def test_a_line_of_json_that_cannot_be_used_is_named(self, value):
        with pytest.raises(BadInputError, match=r"a\.jsonl, line 2"):
            reading.read_json_lines('{"a": 1}\n{"a": ' + value + "}", "a.jsonl")

    def test_half_a_surrogate_pair_is_found_in_its_record(self):
        with pytest.raises(BadInputError, match=r"q\.json, record 1: half a surrogate.*D83D"):
            reading.read_json(r'[{"q": "\ud83d\ude00"}, {"q": "x\ud83d"}]', "q.json")

    def test_a_line_of_json_ends_at_a_newline_and_nowhere_else(self):
        text = '{"a": "x\u2028y\u0085z"}\r\n\n{"a": 2}\n'
        assert reading.read_json_lines(text, "f") == [{"a": "x\u2028y\u0085z"}, {"a": 2}]

    def test_encodings(self, caplog):
        assert reading.decode("Señor".encode(), "f") == "Señor"
        assert reading.decode(b"\xef\xbb\xbf" + json.dumps("é").encode(), "f") == '"\\u00e9"'
        assert not caplog.records
        latin1 = "1::Señor::x\n2::b::x\n3::Été::x".encode("latin-1")
        assert reading.decode(latin1, "f", latin1=True).splitlines()[2] == "3::Été::x"
        assert "read as Latin-1: 2 lines are not UTF-8, the first is line 1 (byte 0xf1)" in (
            caplog.text
        )

    @pytest.mark.parametrize(
        ("data", "where"),
        [
            ("1::L'Été::x\n".encode() + b"2::a\xff::x", "line 2: byte 0xff at column 5"),
            (b"2::a\xff::x\n" + "1::L'Été::x\n".encode(), "line 1: byte 0xff at column 5"),
            (b"1::a::x\n2::\x92s\xe9::x", "line 2: byte 0x92 at column 4"),  # Windows-1252
            ("﻿1::é".encode() + b"\n\xe9", "line 2: byte 0xe9 at column 1"),
            (b"1::a::x\n2::b\0::x", "line 2: a NUL character"),
            ("1::a::x".encode("utf-16"), "line 1"),
        ],
    )  # fmt: skip
    def test_one_bad_byte_does_not_change_how_other_lines_are_read(self, data, where):
        with pytest.raises(BadInputError, match=f"movies.dat, {where}"):
            reading.decode(data, "movies.dat", latin1=True)

    def test_json_is_utf8_and_nothing_else(self):
        with pytest.raises(BadInputError, match="q.json, line 2: byte 0xe9 at column 2 is not"):
            reading.decode(b'["a",\n"\xe9"]', "q.json")

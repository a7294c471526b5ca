import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.linking import Linker, spoken_titles
from rerec_pipeline.grounding.links import Claim
from rerec_pipeline.recbench.titles import ItemIndex


def values(links, facts):
    return {facts.attributes[v.attributes[0]][1] for v in links.values}


class TestFacts:
    def test_both_ways(self, facts):
        ana = facts.number["Directed_by", "Ana Torv"]
        assert facts.with_attribute(ana).tolist() == [0, 1, 3]
        assert {facts.attributes[a] for a in facts.of_item(3)} == {
            ("Directed_by", "Ana Torv"), ("Genre", "Drama"),
        }  # fmt: skip
        assert facts.of_item(7).size == 0
        assert facts.rarity[ana] == pytest.approx(np.log(1 + 8 / 3))

    def test_one_name_in_several_relations(self, facts):
        directed = facts.number["Directed_by", "Ana Torv"]
        starring = facts.number["Starring", "Ana Torv"]
        assert facts.name[directed] == facts.name[starring]

    def test_repeated_facts_count_once(self):
        facts = Facts(1, [(0, "Genre", "Drama")] * 3)
        assert facts.items.sum() == 1

    def test_an_item_that_is_not_there(self):
        with pytest.raises(IndexError, match=r"0\.\.0"):
            Facts(1, [(1, "Genre", "Drama")])


class TestItems:
    @pytest.mark.parametrize(
        ("text", "items"),
        [
            ("I liked The Harbor a lot", (0,)),
            ("I liked 'Harbor, The (1990)' a lot", (0,)),
            ("I liked The Harbor (1990)", (0,)),
            ("I liked The Harbor (1991)", (0,)),  # sources differ by a year
            ("I liked The Harbor (2005)", ()),  # another film
            ("we sailed into the harbor", ()),
            ("After Night Train I want more", (1,)),
            ("After Night Train 2 I want more", (4,)),
            ("After Night Train 3 I want more", ()),
            ("I saw Das Boot", (2,)),
            ("I saw The Boat (Das Boot)", (2,)),
            ("I saw Ember with friends", (3,)),
            ("I saw Ember Island with friends", ()),
            ("I saw Life with Ember (Zarevo) (1955)", ()),
            ("I saw Ember (Zarevo) (1994)", (3,)),
            ("I saw Light at the Ember of the Night", ()),
            ("I saw The Bad and the Ember", ()),
            ("I saw Ember and Night Train", (3, 1)),
            ("Ember is a word here", ()),  # a capital at the start of a sentence says nothing
            ("the last ember", ()),
            ("I saw 'ember' with friends", (3,)),
            ("i liked quiet village", (5,)),  # no capitals anywhere
            ("Night Train and Quiet Village", (1, 5)),
            ("Ember", (3,)),  # all that is said
            ("the harbor?", (0,)),
        ],
    )
    def test_titles_as_people_write_them(self, linker, text, items):
        assert linker.link(text).items == items

    def test_spellings(self):
        assert spoken_titles("Boat, The (Das Boot) (1981)") == [
            "The Boat (Das Boot)", "Das Boot", "The Boat", "Boat, The (Das Boot)",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("title", "said"),
        [
            ("Storm Ahead! (1996)", "Storm Ahead"),
            ("Rose & Thorn (1991)", "Rose and Thorn"),
            ("Mr. Quill (1993)", "Mr Quill"),
            ("Harbor: Part II, The (1994)", "The Harbor Part II"),
            ("Orbit: Book I - First Light (1977)", "Orbit Book I First Light"),
            ("L.A. Nights (1997)", "LA Nights"),
        ],
    )
    def test_marks_that_people_leave_out(self, title, said):
        linker = Linker(ItemIndex([1], [title]), Facts(1, []))
        for text in (f"I saw {said} and more", f"I saw {title} and more"):
            assert linker.link(text).items == (0,), text

    def test_a_title_that_the_catalogue_writes_without_capitals(self):
        linker = Linker(ItemIndex([1], ["Fleur de jardin (1967)"]), Facts(1, []))
        assert linker.link("I saw Fleur de jardin with Ana").items == (0,)
        assert linker.link("I saw fleur de jardin with Ana").items == ()

    def test_a_title_of_two_items_names_both(self, facts):
        titles = [f"Same Name ({1990 + 5 * n})" for n in range(8)]
        linker = Linker(ItemIndex(range(8), titles), facts)
        assert linker.link("I saw Same Name").items == tuple(range(8))
        assert linker.link("I saw Same Name (1995)").items == (1,)

    def test_a_title_that_is_also_a_person_is_the_person(self, linker, facts):
        links = linker.link("films starring Mara Lind")
        assert links.items == () and values(links, facts) == {"Mara Lind"}
        assert linker.link("I saw Mara Lind (1999)").items == (7,)


class TestValues:
    def test_each_takes_the_nearest_cue(self, linker, facts):
        links = linker.link("a film starring Mara Lind and directed by Ana Torv")
        said = {facts.attributes[v.attributes[0]][1]: v.relations for v in links.values}
        assert said == {"Mara Lind": {"Starring"}, "Ana Torv": {"Directed_by"}}
        assert links.cues == {"Starring", "Directed_by"} and links.free_cues == set()

    def test_a_cue_speaks_of_what_follows_it(self, linker, facts):
        links = linker.link("a film by Otto Beck starring Mara Lind")
        said = {facts.attributes[v.attributes[0]][1]: v.relations for v in links.values}
        assert said == {"Otto Beck": set(), "Mara Lind": {"Starring"}}

    @pytest.mark.parametrize(
        ("text", "denied"),
        [
            ("a film not directed by Ana Torv", True),
            ("Why not a film directed by Ana Torv?", False),
            ("films like Ember, other than those by Ana Torv", True),
            ("I don't want anything with Ana Torv", True),
            ("anything without Ana Torv", True),
            ("not only films by Ana Torv", False),
            ("I am not sure, maybe Ana Torv", False),
            ("I saw more films than Ana Torv", False),
            ("not Otto, but Ana Torv", False),
        ],
    )
    def test_what_is_not_wanted(self, linker, text, denied):
        links = linker.link(text)
        assert [value.denied for value in links.values] == [denied] and links.claims == ()

    def test_kinds_that_are_not_wanted(self, linker, facts):
        links = linker.link("No drama, please, a comedy")
        assert {facts.attributes[k][1] for k in links.kinds} == {"Comedy"}

    def test_what_an_encyclopedia_adds_is_not_said(self, linker, facts):
        links = linker.link("anything with John Steele")
        assert values(links, facts) == {"John Steele (actor)"}

    def test_initials_without_their_dots(self):
        linker = Linker(ItemIndex([1], ["One"]), Facts(1, [(0, "Starring", "Ana L. Torv")]))
        for middle in ("L.", "L"):
            assert len(linker.link(f"starring Ana {middle} Torv").values) == 1

    def test_a_film_that_the_catalogue_lacks_is_no_name(self, facts):
        linker = Linker(ItemIndex([1], ["One"]), Facts(1, [(0, "Starring", "Zorro")]))
        assert linker.link("I liked Mark of Zorro (1920)").values == ()
        assert len(linker.link("anything with Zorro").values) == 1

    def test_names_need_capitals_where_there_are_any(self, linker):
        assert linker.link("We like ana torv, not Berlin").values == ()
        assert linker.link("We want more of ana torv").values != ()

    def test_kinds_by_their_stems(self, linker, facts):
        links = linker.link("something hilarious, or a serious drama")
        assert {facts.attributes[k][1] for k in links.kinds} == {"Comedy", "Drama"}

    def test_words_that_begin_like_a_cue(self, linker):
        links = linker.link("a fantastic start in a castle, terrific")
        assert links.cues == set() and links.kinds == ()

    def test_cues_of_another_domain(self, catalogue, facts):
        linker = Linker(catalogue, facts, {"Starring": ("brew",)}, {"Drama": ("sour",)})
        links = linker.link("brewed by Mara Lind, sourish")
        assert links.cues == {"Starring"} and len(links.kinds) == 1

    def test_words_of_a_title_are_no_cue(self, facts):
        titles = ["Star Directors (1990)", *[f"Film {n}{n} (1990)" for n in range(7)]]
        linker = Linker(ItemIndex(range(8), titles), facts)
        assert linker.link("I saw Star Directors (1990)").cues == set()

    def test_decades_and_years(self, linker):
        links = linker.link("something from the '80s or 1994 or the 1920s, in my 40s")
        assert links.years == ((1980, 1989), (1994, 1994), (1920, 1929), (1940, 1949))

    def test_the_year_of_a_named_item_is_one_of_them(self, linker):
        links = linker.link("I saw Ember (Zarevo) (1994), Night Train (1991). More from 1995?")
        assert links.items == (3, 1)
        assert links.years == ((1994, 1994), (1991, 1991), (1995, 1995))


class TestClaims:
    def test_confirmed_contradicted_unknown(self, linker):
        text = "The Harbor, directed by Ana Torv. Das Boot, directed by Ana Torv. "
        links = linker.link(text + "I saw Ember, starring Mara Lind.")
        assert links.claims == (
            Claim(0, "Directed_by", "Ana Torv", "confirmed"),
            Claim(2, "Directed_by", "Ana Torv", "contradicted", ("Otto Beck",)),
            Claim(3, "Starring", "Mara Lind", "unknown"),
        )

    def test_a_year_and_a_number_end_a_sentence(self, linker):
        for named in ("Das Boot (1981)", "Night Train 3, Das Boot and Night Train 2"):
            text = f"I like Ana Torv and saw {named}. Who did the direction?"
            assert linker.link(text).claims == ()

    def test_an_initial_ends_none(self, linker):
        links = linker.link("Das Boot was, says J. Doe, directed by Ana Torv")
        assert [c.status for c in links.claims] == ["contradicted"]

    def test_a_name_without_its_middle_is_no_contradiction(self):
        linker = Linker(
            ItemIndex([1, 2], ["Das Boot", "Other"]),
            Facts(2, [(0, "Directed_by", "Ana Torv"), (1, "Directed_by", "Ana Lena Torv")]),
        )
        (claim,) = linker.link("I saw Das Boot, directed by Ana Lena Torv").claims
        assert claim.status == "unknown"

    def test_a_wish_is_no_claim(self, linker):
        text = "I watched The Harbor and would love other films starring John Steele"
        assert linker.link(text).claims == ()


class TestNamesThatTheGraphDoesNotHave:
    BOAT = Claim(2, "Directed_by", "Yoshi Kishimoto", "contradicted", ("Otto Beck",))

    @pytest.mark.parametrize(
        "text",
        [
            "Yoshi Kishimoto directed Das Boot",
            "I know that Yoshi Kishimoto directed Das Boot, so I want more by him",
            "I enjoyed Yoshi Kishimoto's direction of Das Boot",
            "I saw Das Boot, directed by Yoshi Kishimoto",
            "I saw Das Boot yesterday. Yoshi Kishimoto directed it, I think",
            "Yoshi Kishimoto was the director of Das Boot",
        ],
    )
    def test_are_held_against_what_it_has(self, linker, text):
        links = linker.link(text)
        assert links.strange_claims == (self.BOAT,)
        assert links.claims == () and links.values == ()  # retrieval does not have them

    def test_initials(self, linker):
        [claim] = linker.link("I saw Das Boot, directed by Yoshi J. Kishimoto.").strange_claims
        assert claim.value == "Yoshi J. Kishimoto"

    def test_one_word_and_several_items(self, linker):
        links = linker.link("Kishimoto directed Das Boot and Ember")
        assert [(c.item, c.value, c.status) for c in links.strange_claims] == [
            (2, "Kishimoto", "contradicted"),
            (3, "Kishimoto", "contradicted"),
        ]

    def test_nothing_is_known_where_the_graph_has_none_or_may_lack_one(self, catalogue):
        cast = [(2, "Starring", f"Actor{n} Number{n}") for n in "ABC"]
        linker = Linker(catalogue, Facts(8, cast))
        for text in ("Das Boot, starring Zoe Quill", "Das Boot, directed by Zoe Quill"):
            assert [c.status for c in linker.link(text).strange_claims] == ["unknown"]

    @pytest.mark.parametrize(
        "text",
        [
            "Beck directed Das Boot",  # a part of the name
            "Who directed Das Boot?",
            "I saw Das Boot and want other films directed by Yoshi Kishimoto",
            "I like films directed by Yoshi Kishimoto, and I enjoyed Das Boot",
            "I enjoyed Das Boot. I like films directed by Yoshi Kishimoto",
            "I like Kishimoto productions and Das Boot",
            "I saw 'Lost Shores' and Das Boot, directed by Otto Beck",
            "Lost Shores (1999) directed by Otto Beck and Das Boot",
            "I liked Lost Shores and the direction of Das Boot",
            "yoshi kishimoto directed das boot",
            "I SAW DAS BOOT, DIRECTED BY YOSHI KISHIMOTO",
            "Yoshi Kishimoto directed something",
        ],
    )
    def test_what_is_no_statement_about_one(self, linker, text):
        assert linker.link(text).strange_claims == ()


class TestUnusualInput:
    @pytest.mark.parametrize(
        "text", ["", " ", "the of and", "映画をお勧めしてください", "فيلم جيد", "?!.", "'", "(1990"]
    )
    def test_nothing_to_link(self, linker, text):
        links = linker.link(text)
        assert links.items == () and links.values == () and links.claims == ()

    def test_a_title_with_a_thousand_brackets_behind_it(self, linker):
        assert linker.link("I loved Night Train" + " (a)" * 2_000).items == (1,)

    def test_a_hundred_kilobytes(self, linker):
        links = linker.link("lorem ipsum " * 8000 + "The Harbor " + "dolor " * 1000)
        assert links.items == (0,)

    @pytest.mark.parametrize("name", ["Ana Torv", "Zoe Quill"])
    def test_thousands_of_statements_take_seconds_not_minutes(self, linker, name):
        links = linker.link(f"{name} directed Das Boot. " * 3000)
        assert len(links.named) == 3000
        assert [c.value for c in (*links.claims, *links.strange_claims)] == [name]

    @given(st.text(max_size=200))
    def test_any_text(self, linker, text):
        assert all(0 <= item < 8 for item in linker.link(text).items)

    def test_a_catalogue_of_one_item_without_facts(self):
        linker = Linker(ItemIndex([7], ["Only One (1990)"]), Facts(1, []))
        assert linker.link("I saw Only One").items == (0,)

from __future__ import annotations

from edgetwin.reasoner.words import content_words, says_nothing_known, unknown_words
from edgetwin.twin.window import TwinWindow

KNOWN = frozenset({"drink", "nearest"})


def test_words_in_order() -> None:
    assert content_words("Where's the T-shirt, a MUG 12?") == ["where's", "the", "t-shirt", "mug"]


def test_known_words_are_trained_of_the_twin_or_a_slip_away(window: TwinWindow) -> None:
    assert unknown_words("the red mug nearest the box to drink", KNOWN, window) == []
    assert unknown_words("the nearset drnk neaarest nerest", KNOWN, window) == []
    assert unknown_words("a zeppelin, a sextant and a zeppelin", KNOWN, window) == [
        "zeppelin",
        "sextant",
    ]
    assert unknown_words("mog", KNOWN, window) == ["mog"]  # too short to be called a slip


def test_says_nothing_known() -> None:
    assert says_nothing_known("where is the zeppelin", ["zeppelin"])
    assert not says_nothing_known("the mug by the zeppelin", ["zeppelin"])
    assert not says_nothing_known("where is it", [])


def test_follow_ups_say_nothing_unknown(window: TwinWindow) -> None:
    for query in (
        "And the other one?",
        "what about the others",
        "the same again, please",
        "its next",
    ):
        unknown = unknown_words(query, KNOWN, window)
        assert unknown == []
        assert not says_nothing_known(query, unknown)
    assert unknown_words("and the other zeppelin?", KNOWN, window) == ["zeppelin"]
    assert says_nothing_known("and the other zeppelin?", ["zeppelin"])

"""What a search asks for, and what it finds where the database has no full text."""

import pytest

from controlplane.common.search import TEXT_MAX, WORDS_MAX, Search, SearchInvalid, Term, parse, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("Connection refused", ["connection", "refused"]),
        ("10.0.0.7:5432", ["10", "0", "0", "7", "5432"]),
        ("a_b-c/d", ["a", "b", "c", "d"]),
        ("1e5x", ["1e5x"]),
        ("订单order支付", ["订", "单", "order", "支", "付"]),
        ("ÀÉ ΑΣ Ж", ["àé", "ασ", "ж"]),
        ("한국 かな カナ", ["한", "국", "か", "な", "カ", "ナ"]),
        ("\u20ac\U0001f600<b>&amp;", ["b", "amp"]),
        ("\U00020000x", ["\U00020000", "x"]),
    ],
)
def test_words_of_a_text(text, words):
    assert words_of(text) == words


def term(*words, excluded=False):
    return Term(words, is_excluded=excluded)


@pytest.mark.parametrize(
    ("text", "alternatives"),
    [
        ("timeout payments", [[term("timeout"), term("payments")]]),
        ('"connection refused"', [[term("connection", "refused")]]),
        ('"connection refused', [[term("connection", "refused")]]),
        ("timeout -retry", [[term("timeout"), term("retry", excluded=True)]]),
        ('timeout -"next try"', [[term("timeout"), term("next", "try", excluded=True)]]),
        ("a or b c OR d", [[term("a")], [term("b"), term("c")], [term("d")]]),
        ('"or" a', [[term("or"), term("a")]]),
        ("or a or", [[term("a")]]),
        ("支付失败", [[term("支", "付", "失", "败")]]),
        ("web/shop", [[term("web", "shop")]]),
        ("- ! a", [[term("a")]]),
        ("a -", [[term("a")]]),
    ],
)
def test_text_is_read_as_a_search(text, alternatives):
    assert parse(text) == Search(tuple(tuple(terms) for terms in alternatives))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        '""',
        "!?",
        "or",
        "-a",
        "a or -b",
        "x" * (TEXT_MAX + 1),
        "a " * (WORDS_MAX + 1),
        "支" * (WORDS_MAX + 1),
    ],
)
def test_text_that_asks_for_nothing_or_too_much_is_refused(text):
    with pytest.raises(SearchInvalid):
        parse(text)


@pytest.mark.parametrize(
    ("search", "is_found"),
    [
        ("refused", True),
        ("REFUSED", True),
        ("refuse", False),
        ('"refused connection"', False),
        ('"connection refused"', True),
        ("connection -refused", False),
        ("connection -accepted", True),
        ("nothing or 失败", True),
        ("付失", True),
        ("付败", False),
    ],
)
def test_search_finds_words_phrases_and_alternatives(search, is_found):
    assert parse(search).finds("Connection refused: 支付失败") is is_found

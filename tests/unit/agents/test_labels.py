"""Labels and selectors: what is taken, what is refused with which words, whom a selector matches."""

import string
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.labels import (
    DERIVED,
    LabelsInvalid,
    Operator,
    Requirement,
    Selector,
    SelectorInvalid,
    check_labels,
    number_of,
    parse,
    usable_labels,
)
from agents.labels.lines import keys_of_lines, labels_of_lines, lines_of
from agents.labels.rules import LABELS_ADVISED, LABELS_MAX, VALUE_MAX_CHARS
from agents.labels.selector import REQUIREMENTS_MAX, TEXT_MAX_CHARS, VALUES_MAX

IN, NOT_IN, EXISTS, NOT_EXISTS, GT, LT = Operator


def asks(*expressions, **labels):
    return Selector(tuple(labels.items()), tuple(Requirement(*each) for each in expressions))


@pytest.mark.parametrize(
    ("text", "selector", "canonical"),
    [
        ("", asks(), ""),
        ("  ", asks(), ""),
        ("env=prod", asks(env="prod"), "env=prod"),
        ("env==prod", asks(env="prod"), "env=prod"),
        ("env=prod,env=prod", asks(env="prod"), "env=prod"),
        ("env in (prod)", asks(("env", IN, ("prod",))), "env in (prod)"),
        ("env!=prod", asks(("env", NOT_IN, ("prod",))), "env!=prod"),
        ("env notin (prod)", asks(("env", NOT_IN, ("prod",))), "env!=prod"),
        ("env NotIn(b , a,b)", asks(("env", NOT_IN, ("a", "b"))), "env notin (a,b)"),
        (" gpu , ! arm ", asks(("gpu", EXISTS), ("arm", NOT_EXISTS)), "!arm,gpu"),
        ("x<5,x>-1.5e3", asks(("x", GT, ("-1.5e3",)), ("x", LT, ("5",))), "x>-1.5e3,x<5"),
        ("tier=", asks(tier=""), 'tier=""'),
        ('tier=""', asks(tier=""), 'tier=""'),
        ("tier= ,gpu", asks(("gpu", EXISTS), tier=""), 'tier="",gpu'),
        ("tier!=", asks(("tier", NOT_IN, ("",))), 'tier!=""'),
        ('name="my server, \\"A\\""', asks(name='my server, "A"'), 'name="my server, \\"A\\""'),
        ("区域=上海", asks(区域="上海"), '区域="上海"'),
        ("path=/a/b:c@d+e", asks(path="/a/b:c@d+e"), "path=/a/b:c@d+e"),
        ("in in (in,notin)", asks(("in", IN, ("in", "notin"))), "in in (in,notin)"),
        ("!in,notin=in", asks(("in", NOT_EXISTS), notin="in"), "notin=in,!in"),
        ("n=a\u3000", asks(n="a"), "n=a"),
        ('n="a\nb\u202e"', asks(n="a\nb\u202e"), 'n="a\\nb\\u202e"'),
        ("portal/os=linux", Selector((("portal/os", "linux"),)), "portal/os=linux"),
        (
            "region in (a,b),env=prod,!gpu,cpu-cores>8",
            Selector(
                (("env", "prod"),),
                (
                    Requirement("cpu-cores", GT, ("8",)),
                    Requirement("gpu", NOT_EXISTS),
                    Requirement("region", IN, ("a", "b")),
                ),
            ),
            "env=prod,cpu-cores>8,!gpu,region in (a,b)",
        ),
    ],
)
def test_text_is_read_and_written(text, selector, canonical):
    assert parse(text) == selector
    assert str(selector) == canonical


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        (",", 0, "expected the key of a label, not “,”"),
        ("a=1,", 4, "expected a label after the comma, and the text ends"),
        ("a=1 b=2", 4, "expected a comma before the next label, or the end; a value with blanks stands in quotes"),
        ("a or b", 2, "expected =, !=, in (…), notin (…), > or < behind “a”, or a comma, not “or b”"),
        ("a not in (b)", 2, "notin (…)"),
        ("a in b", 5, "expected values in brackets, as in: a in (a,b)"),
        ("a in ()", 6, 'expected a value; the empty one is ""'),
        ("a in (x,)", 8, 'expected a value; the empty one is ""'),
        ("a in (x y)", 8, "expected a comma or the closing bracket"),
        ("a in (x", 7, "expected a comma or the closing bracket"),
        ("a>", 2, "expected a decimal number, such as 8, 7.5 or 1e3, and the text ends"),
        ("a>b", 2, "expected a decimal number, such as 8, 7.5 or 1e3, not “b”"),
        ("a<NaN", 2, "expected a decimal number"),
        ("a>=5", 1, "there is no “>=”"),
        ("a=1,a=2", 4, "“a” cannot equal two values; for either of them write: a in (1,2)"),
        ("-a=1", 0, "cannot be the key of a label"),
        (f"{'k' * 64}=1", 0, "63 characters at most; this one has 64"),
        ("portal/nothing", 0, "The portal says nothing called “portal/nothing”"),
        ('a="b', 2, "the closing double quote is missing"),
        (r'a="\x"', 3, "any character \\uXXXX"),
        (r'a="\ud800"', 2, "half a surrogate pair"),
        ("a=b\x00", 3, "NUL"),
        ("a='b'", 2, "one with special characters stands in double quotes"),
        ("a=1，b=2", 3, "“，” is full-width; write ,"),
        ("a in （b）", 5, "“（” is full-width; write ("),
        ("!a=b", 2, "expected a comma"),
        (f"a={'v' * (VALUE_MAX_CHARS + 1)}", 2, "1024 characters at most; this one has 1025"),
        (f"a in ({','.join(map(str, range(VALUES_MAX + 1)))})", None, "a list has 100 values at most"),
        ("a" * (TEXT_MAX_CHARS + 1), TEXT_MAX_CHARS, "8192 characters at most; this one has 8193"),
    ],
)
def test_wrong_text_is_refused_with_the_place_and_what_to_write(text, position, words):
    with pytest.raises(SelectorInvalid) as refused:
        parse(text)

    assert words in str(refused.value)
    if position is not None:
        assert refused.value.position == position


def test_too_many_requirements_are_refused():
    with pytest.raises(SelectorInvalid, match=f"{REQUIREMENTS_MAX} requirements at most"):
        parse(",".join(f"k{number}" for number in range(REQUIREMENTS_MAX + 1)))


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([], "selector"),
        ({"labels": {}}, "selector"),
        ({"match_labels": []}, "match_labels"),
        ({"match_labels": ""}, "match_labels"),
        ({"match_labels": {"": "a"}}, "match_labels"),
        ({"match_labels": {"a\x00": "a"}}, "match_labels"),
        ({"match_labels": {"a": 1}}, "match_labels.a"),
        ({"match_labels": {"a": "\x00"}}, "match_labels.a"),
        ({"match_labels": {f"k{number}": "" for number in range(33)}}, "selector"),
        ({"match_expressions": {}}, "match_expressions"),
        ({"match_expressions": ["a"]}, "match_expressions.0"),
        ({"match_expressions": [{"key": "a"}]}, "match_expressions.0.operator"),
        ({"match_expressions": [{"key": "a", "operator": "UNKNOWN"}]}, "match_expressions.0.operator"),
        ({"match_expressions": [{"key": "a", "operator": ["IN"]}]}, "match_expressions.0.operator"),
        ({"match_expressions": [{"key": "", "operator": "EXISTS"}]}, "match_expressions.0.key"),
        ({"match_expressions": [{"key": None, "operator": "EXISTS"}]}, "match_expressions.0.key"),
        ({"match_expressions": [{"key": "a", "operator": "EXISTS", "values": ["b"]}]}, "match_expressions.0.values"),
        ({"match_expressions": [{"key": "a", "operator": "IN"}]}, "match_expressions.0.values"),
        ({"match_expressions": [{"key": "a", "operator": "NOT_IN", "values": "b"}]}, "match_expressions.0.values"),
        ({"match_expressions": [{"key": "a", "operator": "NOT_IN", "values": [1]}]}, "match_expressions.0.values"),
        ({"match_expressions": [{"key": "a", "operator": "GT", "values": ["1", "2"]}]}, "match_expressions.0.values"),
        ({"match_expressions": [{"key": "a", "operator": "LT", "values": ["x"]}]}, "match_expressions.0.values"),
    ],
)
def test_wrong_json_is_refused_with_its_field(value, field):
    with pytest.raises(SelectorInvalid) as refused:
        Selector.from_json(value)

    assert refused.value.field == field


def test_json_may_leave_out_what_is_not_asked():
    assert Selector.from_json({}) == Selector.from_json({"match_labels": None, "match_expressions": None}) == Selector()


@pytest.mark.parametrize(
    ("requirement", "missing", "present"),
    [
        ("a in (x,y)", False, {"x": True, "y": True, "X": False, "": False}),
        ("a notin (x,y)", True, {"x": False, "z": True, "": True}),
        ("a", False, {"": True, "x": True}),
        ("!a", True, {"": False, "x": False}),
        ("a=", False, {"": True, "x": False}),
        ("a>7", False, {"7.5": True, "10": True, "7": False, "": False, "x": False, "Infinity": False, "1e1": True}),
        (
            "a<10",
            False,
            {"9": True, "10": False, "-Infinity": False, "NaN": False, " 5": False, ".5": True, "٣": False},
        ),
        ("a>9007199254740992", False, {"9007199254740993": True, "9007199254740992.0": False}),
        ("a>0.1", False, {f"0.1{'0' * 100}1": True, f"0.1{'0' * 200}1": False}),
    ],
)
def test_matching_of_one_label(requirement, missing, present):
    selector = parse(requirement)

    assert selector.matches({}) is missing
    assert selector.matches({"b": "x"}) is missing
    assert {value: selector.matches({"a": value}) for value in present} == present


def test_every_requirement_must_hold_and_none_matches_all():
    selector = parse("env=prod,cpu>8,cpu<64")

    assert selector.matches({"env": "prod", "cpu": "9", "x": ""})
    assert not selector.matches({"env": "prod", "cpu": "64"})
    assert not selector.matches({"env": "test", "cpu": "9"})
    assert Selector().matches({})
    assert Selector().matches({"a": "b"})


@pytest.mark.parametrize(
    "text", ["", "NaN", "inf", "1e", "e5", ".", "+", "1_000", " 5", "5 ", "0x1F", "1e1000", "５", "5\n"]
)
def test_texts_that_are_no_numbers(text):
    assert number_of(text) is None


@pytest.mark.parametrize("text", ["0", "007", "+5", "-.5", "5.", "1e5", "1E-999", "9" * 128])
def test_texts_that_are_numbers(text):
    assert number_of(text) == Decimal(text)


@pytest.mark.parametrize(
    ("labels", "field", "words"),
    [
        ([], "labels", "object of texts"),
        ({"": "x"}, "labels", "needs a key"),
        ({1: "x"}, "labels", "needs a key"),
        ({"a b": "x"}, "labels.a b", "letters, digits"),
        ({"a\n": "x"}, "labels.a\n", "letters, digits"),
        ({"k" * 64: "x"}, f"labels.{'k' * 63}", "63 characters at most"),
        ({"portal/os": "x"}, "labels.portal/os", "the portal's own"),
        ({"a": 5}, "labels.a", "write 5 in quotes"),
        ({"a": None}, "labels.a", "in quotes"),
        ({"a": "\ud800"}, "labels.a", "surrogate"),
        ({"a\x00": "x"}, "labels.a\ufffd", "NUL"),
        ({"a": "v" * 1025}, "labels.a", "1024 characters at most"),
        ({f"k{number}": "" for number in range(LABELS_MAX + 1)}, "labels", "64 labels at most"),
    ],
)
def test_labels_that_nobody_can_give(labels, field, words):
    with pytest.raises(LabelsInvalid) as refused:
        check_labels(labels)

    assert refused.value.field == field
    assert words in str(refused.value)


def test_many_labels_are_taken_with_a_warning():
    assert check_labels({f"k{number}": "" for number in range(LABELS_ADVISED)}) == []
    assert len(check_labels({f"k{number}": "" for number in range(LABELS_MAX)})) == 1


def test_wrong_labels_of_an_agent_cost_only_themselves():
    many = {f"k{number:02}": "" for number in range(LABELS_MAX + 1)}

    usable, refused = usable_labels({"a": "x", "-": "x", "portal/os": "x", "n": 5})
    assert usable == {"a": "x"}
    assert set(refused) == {"-", "portal/os", "n"}
    assert set(usable_labels(many)[1]) == {"k64"}


_word = st.sampled_from([*string.ascii_letters, *string.digits, "_", "é", "环", "境"])
_inner = st.text(st.one_of(_word, st.sampled_from(".-/")), max_size=8)
keys = st.one_of(st.builds("{}{}{}".format, _word, _inner, _word), _word, st.sampled_from(["in", "notin", *DERIVED]))
values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
numbers = st.from_regex(r"[+-]?([0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9})([eE][+-]?[0-9]{1,3})?", fullmatch=True).filter(
    lambda text: number_of(text) is not None
)
requirements = st.one_of(
    st.builds(Requirement, keys, st.sampled_from([IN, NOT_IN]), st.lists(values, min_size=1, max_size=4).map(tuple)),
    st.builds(Requirement, keys, st.sampled_from([EXISTS, NOT_EXISTS])),
    st.builds(Requirement, keys, st.sampled_from([GT, LT]), numbers.map(lambda text: (text,))),
)
selectors = st.builds(
    Selector,
    st.dictionaries(keys, values, max_size=4).map(lambda labels: tuple(labels.items())),
    st.lists(requirements, max_size=5).map(tuple),
)


@given(selectors)
@settings(max_examples=300, deadline=None)
def test_a_selector_survives_its_text_and_its_json(selector):
    assert parse(str(selector)) == selector
    assert str(parse(str(selector))) == str(selector)
    assert Selector.from_json(selector.as_json()) == selector


@given(st.text(st.one_of(st.sampled_from('ab in notin,()!=<>"\\ '), st.characters()), max_size=30))
@settings(max_examples=500, deadline=None)
def test_any_text_is_read_or_refused(text):
    try:
        selector = parse(text)
    except SelectorInvalid:
        return
    assert parse(str(selector)) == selector


@given(st.dictionaries(keys.filter(lambda key: not key.startswith("portal/")), values, max_size=6))
@settings(max_examples=200, deadline=None)
def test_labels_survive_their_lines(labels):
    assert labels_of_lines(lines_of(labels)) == (labels, [])
    assert labels_of_lines(lines_of(labels).replace("\n", "\r\n")) == (labels, [])


@pytest.mark.parametrize(
    ("text", "labels", "problems"),
    [
        ("", {}, []),
        ("env=prod\r\n\r\n gpu \n a = b = c ", {"env": "prod", "gpu": "", "a": "b = c"}, []),
        ('a=" x "\nb="\\u0009"', {"a": " x ", "b": "\t"}, []),
        ('a=1\na=2\n-=3\nb="x\nportal/os=y', {"a": "1"}, [2, 3, 4, 5]),
        ("\n".join(f"k{number}" for number in range(65)), {f"k{number}": "" for number in range(65)}, [0]),
    ],
)
def test_lines_are_read_as_labels(text, labels, problems):
    found, wrong = labels_of_lines(text)

    assert found == labels
    assert [problem.line for problem in wrong] == problems


def test_lines_are_read_as_keys():
    assert keys_of_lines("a\r\n b=x \n\na\n=") == ["a", "b"]

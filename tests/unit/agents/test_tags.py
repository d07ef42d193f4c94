"""Which tags of a node are labels, and why the others are none."""

import pytest

from agents.labels import read_tags


@pytest.mark.parametrize(
    ("tags", "labels"),
    [
        ([], {}),
        (["gpu", "team=x", " team = y "], {"gpu": "", "team": "y"}),
        (["a=b=c", "=x", "no key!", "portal/os=mine", 5, None, {"a": 1}], {"a": "b=c"}),
        (["team=x", "team=y", "team=x"], {"team": "x"}),
    ],
)
def test_tags_as_labels(tags, labels):
    assert read_tags(tags).labels == labels


@pytest.mark.parametrize(
    ("tags", "tag", "words"),
    [
        (["portal/dialect=onestep"], "portal/dialect=onestep", "the portal's own"),
        (["a b"], "a b", "“a b” cannot be the key of a label"),
        (["=x"], "=x", "A label needs a key."),
        (["k" * 64], "k" * 64, "63 characters at most; this one has 64"),
        (["team=x", "team=y"], "team=x", "“team=y” comes after it"),
        (["team=x", "team=y", "team=x"], "team=y", "“team=x” comes after it"),
    ],
)
def test_what_is_left_out_and_why(tags, tag, words):
    left_out = read_tags(tags).left_out

    assert list(left_out) == [tag]
    assert words in left_out[tag]


def test_two_ways_to_write_one_label_lose_nothing():
    assert read_tags(["gpu", "gpu=", "gpu"]).left_out == {}


def test_beyond_the_limit_the_last_by_key_are_left_out():
    read = read_tags([f"k{number:02}" for number in range(80)])

    assert list(read.labels) == [f"k{number:02}" for number in range(64)]
    assert read.left_out == {
        f"k{number}": "An instance takes 64 labels at most; these are 80." for number in range(64, 80)
    }

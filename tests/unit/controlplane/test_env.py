import pytest
from django.core.exceptions import ImproperlyConfigured

from controlplane.common import env


def test_the_reference_prefix_is_read_and_the_plain_name_wins(monkeypatch):
    monkeypatch.setenv("ONESTEP_CP_SOME_LIMIT", "7")
    assert env.integer("SOME_LIMIT", 1) == 7

    monkeypatch.setenv("SOME_LIMIT", "9")
    assert env.integer("SOME_LIMIT", 1) == 9


@pytest.mark.parametrize(
    ("written", "read"),
    [("a", ("a",)), (" a , b ,", ("a", "b")), ('["a", "b,c"]', ("a", "b,c")), ("", ())],
)
def test_items_reads_single_comma_and_json_forms(monkeypatch, written, read):
    monkeypatch.setenv("SOME_LIST", written)

    assert env.items("SOME_LIST") == read


@pytest.mark.parametrize("written", ["ten", "1.5", "0", "101"])
def test_a_bad_number_names_the_variable_and_the_rule(monkeypatch, written):
    monkeypatch.setenv("SOME_NUMBER", written)

    with pytest.raises(ImproperlyConfigured, match=r"^SOME_NUMBER must be"):
        env.integer("SOME_NUMBER", 5, minimum=1, maximum=100)


def test_a_secret_may_come_from_a_file(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("hush\n")
    monkeypatch.setenv("SOME_SECRET_FILE", str(tmp_path / "secret"))

    assert env.secret("SOME_SECRET") == "hush"


def test_a_missing_secret_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_SECRET_FILE", str(tmp_path / "none"))

    with pytest.raises(ImproperlyConfigured, match=r"SOME_SECRET_FILE names .*none"):
        env.secret("SOME_SECRET")


def test_a_bad_choice_and_a_bad_boolean_name_what_is_allowed(monkeypatch):
    monkeypatch.setenv("SOME_WORD", "maybe")

    with pytest.raises(ImproperlyConfigured, match="dev, prod"):
        env.choice("SOME_WORD", "dev", ("dev", "prod"))
    with pytest.raises(ImproperlyConfigured, match="true or false"):
        env.boolean("SOME_WORD", default=False)

"""`manage.py translations --check`: every text has its Chinese, and the compiled file is the one of the sources."""

import io

import pytest
from django.core.management import CommandError, call_command


def test_every_text_is_translated(capsys):
    call_command("translations", check=True)

    assert "all translated" in capsys.readouterr().out


def checked():
    call_command("translations", check=True, stdout=io.StringIO())


def collected():
    call_command("translations", stdout=io.StringIO(), stderr=io.StringIO())


@pytest.fixture
def po(tmp_path, settings):
    """The Chinese file of a small source tree, complete and in step."""
    settings.BASE_DIR = tmp_path
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "texts.py").write_text('_("One %(thing)s")\n', encoding="utf-8")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page.html").write_text(
        "{% load i18n %}\n   <p>{% translate 'Two' %}</p>\n"
        "{% blocktranslate count n=rows %}{{ n }} row{% plural %}{{ n }} rows{% endblocktranslate %}",
        encoding="utf-8",
    )
    collected()
    file = tmp_path / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
    text = file.read_text(encoding="utf-8")
    for english, chinese in (("One %(thing)s", "一个%(thing)s"), ("Two", "二")):
        text = text.replace(f'msgid "{english}"\nmsgstr ""', f'msgid "{english}"\nmsgstr "{chinese}"')
    text = text.replace('msgstr[0] ""', 'msgstr[0] "%(n)s 行"')
    file.write_text(text, encoding="utf-8")
    collected()
    checked()
    return file


def edit(file, old, new):
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("二", "", "Not translated: 'Two'"),
        ("%(n)s 行", "", "Not translated: '%(n)s row'"),
        ("一个%(thing)s", "一个%(ding)s", "Other placeholders"),
        ('msgid "Two"', '#, fuzzy\nmsgid "Two"', "Fuzzy: 'Two'"),
        ("二", "两", "django.mo is not what"),
        ('msgid "Two"', 'msgid "Too"', "no longer in the code: 'Too'"),
    ],
)
def test_check_fails_when_the_files_are_not_in_step(po, old, new, message):
    edit(po, old, new)

    with pytest.raises(CommandError) as failed:
        checked()

    assert message in str(failed.value)


def test_new_text_fails_the_check_until_it_is_collected_and_translated(po, tmp_path):
    (tmp_path / "agents" / "more.py").write_text('ngettext("%d thing", "%d things", 3)\n', encoding="utf-8")

    with pytest.raises(CommandError, match="%d thing"):
        checked()


def test_collecting_twice_writes_the_same_bytes(po):
    before = po.read_bytes(), po.with_suffix(".mo").read_bytes()

    collected()

    assert (po.read_bytes(), po.with_suffix(".mo").read_bytes()) == before

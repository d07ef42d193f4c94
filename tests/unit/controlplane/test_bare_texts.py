"""No text of a template or a script reaches a reader without having gone through the translations."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.conf import settings

TEMPLATES = Path(settings.BASE_DIR, "templates")
SCRIPTS = Path(settings.BASE_DIR, "static", "console")
# What is the same in every language: names, units, keys, lines of a shell.
SAME_EVERYWHERE = {
    *("CSV", "NDJSON", "Python", "Django", "Redis", "PostgreSQL", "SQLite"),
    *("cmd_§…", "region=eu,!canary"),
    *("Ctrl", "K", "Ctrl K", "⌘K", "Esc", "API", "JSON", "ID", "URL", "UTC"),
    "region in (eu,us),!canary",
    "portal/environment=prod,region in (eu,us),!canary,cpu-cores>8",
}
READ_ALOUD = {"title", "placeholder", "aria-label", "alt", "data-label", "data-confirm"}
NOT_READ = {"code", "pre", "script", "style"}
BLOCK = re.compile(r"{%-?\s*(blocktranslate|blocktrans|comment)\b.*?{%-?\s*end\1\s*-?%}", re.DOTALL)
TAG = re.compile(r"{%.*?%}|{{.*?}}|{#.*?#}", re.DOTALL)
WORD = re.compile(r"[A-Za-z]{2,}")


class Texts(HTMLParser):
    """The texts that somebody reads or hears, beside those of the template language."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.around = []

    def handle_starttag(self, tag, attrs):
        if tag not in {"input", "meta", "link", "img", "br", "hr", "option"}:
            self.around.append((tag, dict(attrs).get("class") or ""))
        self.found += [value for name, value in attrs if name in READ_ALOUD and value]

    def handle_endtag(self, tag):
        if any(tag == name for name, _ in self.around):
            while self.around.pop()[0] != tag:
                pass

    def handle_data(self, data):
        is_icon = any("material-symbols-outlined" in classes for _, classes in self.around)
        if not is_icon and not any(tag in NOT_READ for tag, _ in self.around):
            self.found.append(data)


def bare_words(source):
    """The words of a template that no tag translates."""
    reader = Texts()
    # A tag within a tag would end the attribute it stands in: so they all become a sign that is no word.
    # One that stands where the name of an element begins is left out instead.
    reader.feed(re.sub(r"(</?)§", r"\1", TAG.sub("§", BLOCK.sub("§", source))))
    texts = (" ".join(text.split()) for text in reader.found)
    return [
        text
        for text in texts
        if text not in SAME_EVERYWHERE
        and any(word not in SAME_EVERYWHERE for word in WORD.findall(text.replace("_", "")))
    ]


def templates():
    return sorted(path for path in TEMPLATES.rglob("*.html"))


@pytest.mark.parametrize("path", templates(), ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_a_template_has_no_text_beside_its_translations(path):
    assert bare_words(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "bare"),
    [
        ("<p>{% translate 'Hello' %}</p>", []),
        ("<p>Hello {{ name }}</p>", ["Hello §"]),
        ('<a title="Go on">{{ x }}</a>', ["Go on"]),
        ("<p>{% blocktranslate %}Hello{% endblocktranslate %}</p>", []),
        ('<span class="material-symbols-outlined">check_circle</span><code>pip install</code>', []),
        ("{% if a > b %}<b>Yes</b>{% endif %}", ["Yes"]),
    ],
)
def test_bare_texts_are_found(source, bare):
    assert bare_words(source) == bare


# Sentences and labels in a script: a literal that begins like one, or that has words with spaces between.
LITERAL = re.compile(r"""(?P<quote>["'`])(?P<text>(?:\\.|(?!(?P=quote)).)*)(?P=quote)""")
SENTENCE = re.compile(r"^[A-Z][a-z]+$|^[A-Z][a-z]+ [a-z]+|[a-z]{3,} [a-z]{2,} [a-z]{2,}")
# Names of keys and codes; errors that only a console of a developer shows.
NAMES = {
    "Seconds", "Minutes", "Hours", "Days", "Accept", "Date",
    "Enter", "Escape", "Tab", "Home", "End", "Delete", "Backspace",
}  # fmt: skip


def said_by(script):
    spoken = (line for line in script.splitlines() if not line.lstrip().startswith(("//", "*", "/*")))
    lines = [line for line in spoken if "new Error(" not in line]
    texts = [match["text"] for line in lines for match in LITERAL.finditer(line)]
    return [text for text in texts if SENTENCE.search(text) and text not in NAMES and text != "use strict"]


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.js")), ids=lambda path: path.name)
def test_a_script_takes_its_words_from_the_page(path):
    assert said_by(path.read_text(encoding="utf-8")) == []


def test_sentences_of_a_script_are_found():
    script = 'label.textContent = "Copied";\nnote("could not be read");\nput("Try again");\nconst id = "c-chart-note";'

    assert said_by(script) == ["Copied", "could not be read", "Try again"]


@pytest.mark.parametrize("path", templates(), ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_a_template_has_no_inline_script_and_no_inline_style(path):
    source = path.read_text(encoding="utf-8")
    own = source if "As unfold's" not in source else ""

    assert not re.search(r"<script(?![^>]*\bsrc=)", source)
    assert not re.search(r"\son(click|change|submit|load|input)=", source)
    assert not re.search(r"\sstyle=", own)

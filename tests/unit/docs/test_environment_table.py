"""Both READMEs name every variable that the settings read, and no other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# `env.secret("NAME")` and its siblings; `env.raw` is internal to controlplane.common.env.
READ = re.compile(r"\benv\.(secret|text|integer|boolean|items|choice)\(\s*\"([A-Z0-9_]+)\"")
ROW = re.compile(r"^\| (`[A-Z][^|]*) \|", re.MULTILINE)
NAME = re.compile(r"`([A-Z0-9_]+)`")


def variables_read() -> dict[str, str]:
    """Name and reader of each variable."""
    sources = sorted((ROOT / "controlplane" / "settings").glob("*.py"))
    found = [match for source in sources for match in READ.findall(source.read_text(encoding="utf-8"))]
    return {name: reader for reader, name in found}


def rows(readme: str) -> list[str]:
    return ROW.findall((ROOT / readme).read_text(encoding="utf-8"))


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_readme_lists_every_variable_that_is_read(readme: str) -> None:
    listed = {name for row in rows(readme) for name in NAME.findall(row)}

    assert listed == set(variables_read())


@pytest.mark.parametrize(("readme", "mark"), [("README.md", "(file)"), ("README.zh-CN.md", "（文件）")])
def test_readme_marks_what_may_come_from_a_file(readme: str, mark: str) -> None:
    marked = {name for row in rows(readme) if mark in row for name in NAME.findall(row)}

    assert marked == {name for name, reader in variables_read().items() if reader == "secret"}

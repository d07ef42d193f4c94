"""Tables for str.translate: what would begin something in a markup is written otherwise, and lines stay one line."""

from collections.abc import Mapping
from typing import Final

_ONE_LINE: Final = {ord(each): " " for each in "\r\n\0"}
# Within ticks nothing is read, and so no tick may stand there.
IN_TICKS: Final[Mapping[int, str]] = {ord("`"): "'"} | _ONE_LINE
# Feishu reads entities of HTML in its markdown.
ENTITIES: Final[Mapping[int, str]] = {ord(each): f"&#{ord(each)};" for each in "\\`*_~[]()<>&#!|"} | _ONE_LINE
# WeCom has no way to escape: look-alikes of full width.
LOOK_ALIKES: Final[Mapping[int, str]] = {
    ord(each): other for each, other in zip("<>[]*`#_@", "＜＞［］＊'＃＿＠", strict=True)
} | _ONE_LINE

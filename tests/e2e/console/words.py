"""What the console says, in the language of the one who looks."""

import re
from re import Pattern

from django.utils import translation

_PLACE = re.compile(r"%\(\w+\)[sd]|%s|%d")


class Words:
    """Translates the English of templates and code, as the portal itself does."""

    def __init__(self, language: str) -> None:
        self.language = language

    def __call__(self, text: str, *, context: str = "") -> str:
        with translation.override(self.language):
            return translation.pgettext(context, text) if context else translation.gettext(text)

    def label(self, lazy: object) -> str:
        """What models and enums say of themselves."""
        with translation.override(self.language):
            return str(lazy)

    def plural(self, one: str, many: str, n: int) -> str:
        """The sentence for `n` things, with the number filled in where it is called n."""
        with translation.override(self.language):
            return translation.ngettext(one, many, n).replace("%(n)s", str(n))

    def shape(self, text: str, **known: object) -> Pattern[str]:
        """A sentence with anything in the places that are not known. `text` has them as %(name)s, as catalogs do."""
        sentence = self(text)
        for name, value in known.items():
            sentence = sentence.replace(f"%({name})s", str(value)).replace(f"%({name})d", str(value))
        return re.compile(".+".join(re.escape(part) for part in _PLACE.split(sentence)))

    def any_of(self, *texts: str) -> Pattern[str]:
        """Any of these as a whole."""
        return re.compile("^(" + "|".join(re.escape(self(text)) for text in texts) + ")$")

    def starting(self, text: str) -> Pattern[str]:
        """This at the beginning."""
        return re.compile("^" + re.escape(self(text)))

"""The ways in which the console is looked at: two languages, a desktop and a phone."""

from dataclasses import dataclass
from typing import Any

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


@dataclass(frozen=True)
class Form:
    """Language and device of one operator."""

    language: str
    is_phone: bool

    @property
    def name(self) -> str:
        return f"{self.language}.{'phone' if self.is_phone else 'desktop'}"

    @property
    def username(self) -> str:
        """An operator of its own for each: a login ends the other sessions of its user."""
        name = {"en": "ann", "zh-hans": "li"}[self.language]
        return f"{name}-phone" if self.is_phone else name

    @property
    def context(self) -> dict[str, Any]:
        """Arguments of a browser context."""
        device = {"is_mobile": True, "has_touch": True, "device_scale_factor": 1} if self.is_phone else {}
        return {
            "locale": {"en": "en-US", "zh-hans": "zh-CN"}[self.language],
            "timezone_id": "Asia/Shanghai",
            "viewport": PHONE if self.is_phone else DESKTOP,
            "reduced_motion": "reduce",
            "permissions": ["clipboard-read", "clipboard-write"],
            **device,
        }


FORMS = [Form(language, is_phone) for language in ("en", "zh-hans") for is_phone in (False, True)]
# Each language and each device once: in these all flows are walked.
MAIN_FORMS = [form for form in FORMS if form.is_phone == (form.language != "en")]
# In the other two every page is looked at, so that each page is seen in both languages and on both devices.
OTHER_FORMS = [form for form in FORMS if form not in MAIN_FORMS]

"""WCAG AA in both themes: what console.css writes on what, from its own variables and unfold's colours."""

import math
import re
from pathlib import Path

import pytest
from django.conf import settings
from unfold.settings import CONFIG_DEFAULTS

CSS = Path(settings.BASE_DIR, "static/console/console.css").read_text(encoding="utf-8")
AA_TEXT = 4.5
AA_GRAPHICS = 3.0
TONES = ("good", "busy", "warn", "bad", "mute")
GROUNDS = ("--c-panel", "--c-sunk")


def variables(selector):
    """The variables of the first rule with exactly this selector."""
    rule = re.search(rf"(?:^|}})\s*{re.escape(selector)}\s*{{([^}}]*--c-[^}}]*)}}", CSS, re.MULTILINE).group(1)
    return dict(re.findall(r"(--[\w-]+):\s*([^;]+);", rule))


LIGHT = variables(":root")
DARK = LIGHT | variables(".dark")


def base_colours():
    """The colours that unfold writes into each page."""
    colours = {**CONFIG_DEFAULTS["COLORS"], **settings.UNFOLD["COLORS"]}
    names = ("base", "primary")
    return {f"--color-{name}-{weight}": value for name in names for weight, value in colours[name].items()}


BASE = base_colours()


def oklab(theme, value):
    """A colour as (L, a, b)."""
    value = value.strip()
    if name := re.fullmatch(r"var\((--[\w-]+)\)", value):
        return oklab(theme, theme.get(name[1]) or BASE[name[1]])
    if mix := re.fullmatch(r"color-mix\(in oklab, (\S+) (\d+)%, (\S+)\)", value):
        share = int(mix[2]) / 100
        parts = zip(oklab(theme, mix[1]), oklab(theme, mix[3]), strict=True)
        return tuple(one * share + other * (1 - share) for one, other in parts)
    if value == "#fff":
        return (1.0, 0.0, 0.0)
    lightness, chroma, hue = re.fullmatch(r"oklch\(\s*([\d.]+%?)\s+([\d.]+)\s+([\d.]+)(?:deg)?\s*\)", value).groups()
    level = float(lightness.rstrip("%")) / (100 if lightness.endswith("%") else 1)
    angle = math.radians(float(hue))
    return (level, float(chroma) * math.cos(angle), float(chroma) * math.sin(angle))


def luminance(lab):
    """Relative luminance of an Oklab colour. Source: Björn Ottosson's matrices, WCAG 2.2 definition."""
    level, a, b = lab
    long, medium, short = (
        (level + x * a + y * b) ** 3
        for x, y in ((0.3963377774, 0.2158037573), (-0.1055613458, -0.0638541728), (-0.0894841775, -1.2914855480))
    )
    red = 4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short
    red, green, blue = (min(1.0, max(0.0, part)) for part in (red, green, blue))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(theme, text, ground):
    lights = sorted((luminance(oklab(theme, f"var({name})")) for name in (text, ground)), reverse=True)
    return (lights[0] + 0.05) / (lights[1] + 0.05)


def test_contrast_is_measured_rightly():
    theme = {"--white": "#fff", "--black": "oklch(0% 0 0)", "--grey": "oklch(56.5% 0 0)"}

    assert contrast(theme, "--white", "--black") == pytest.approx(21)
    # #767676, the lightest grey that passes on white.
    assert contrast(theme, "--grey", "--white") == pytest.approx(4.54, abs=0.03)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("tone", TONES)
def test_badges_can_be_read(theme, tone):
    assert contrast(theme, f"--c-{tone}", f"--c-{tone}-bg") >= AA_TEXT


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("text", ["--c-text", "--c-strong", "--c-soft", "--c-link", *(f"--c-{tone}" for tone in TONES)])
def test_texts_can_be_read(theme, text, ground):
    assert contrast(theme, text, ground) >= AA_TEXT


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("line", range(1, 7))
def test_lines_of_charts_can_be_seen(theme, line):
    assert contrast(theme, f"--c-line-{line}", "--c-panel") >= AA_GRAPHICS


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_soft_text_can_be_read_on_what_is_chosen_in_the_palette(theme):
    assert contrast(theme, "--c-soft", "--c-busy-bg") >= AA_TEXT

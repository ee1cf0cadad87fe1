"""The page's colours can be read, and told apart with any colour vision."""

import itertools
import math
import re
from importlib import resources

import pytest

OUTCOMES = ("accepted", "rejected", "failed", "superseded", "undecided")

# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency" (2009), severity 1.0, for linear RGB.
_VISION = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}

type Rgb = tuple[float, float, float]


def colours(scheme: str) -> dict[str, Rgb]:
    css = (resources.files("fl_notifications_cli.tracing") / "html" / "page.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    found = re.findall(r"--([a-z0-9-]+): #([0-9a-f]{6});", light if scheme == "light" else dark)
    return {name: _linear(value) for name, value in found}


def _linear(value: str) -> Rgb:
    parts = (int(value[i : i + 2], 16) / 255 for i in (0, 2, 4))
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return r, g, b


def luminance(colour: Rgb) -> float:
    r, g, b = colour
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: Rgb, other: Rgb) -> float:
    """WCAG 2.2's contrast ratio."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def seen(colour: Rgb, vision: str) -> Rgb:
    r, g, b = (
        min(1.0, max(0.0, sum(weight * part for weight, part in zip(row, colour, strict=True))))
        for row in _VISION[vision]
    )
    return r, g, b


def difference(one: Rgb, other: Rgb) -> float:
    """The distance in CIE Lab; about 2 can just be noticed."""
    return math.dist(_lab(one), _lab(other))


def _lab(colour: Rgb) -> tuple[float, float, float]:
    r, g, b = colour
    xyz = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089,
    )
    x, y, z = (c ** (1 / 3) if c > 0.008856 else 7.787 * c + 16 / 116 for c in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", [*OUTCOMES, "try", "wait", "held"])
def test_marks_stand_out_from_what_is_behind_them(scheme: str, name: str) -> None:
    """WCAG 2.2, 1.4.11: 3:1 for what is needed to understand graphics."""
    said = colours(scheme)

    assert contrast(said[name], said["panel"]) >= 3
    assert contrast(said[name], said["stripe"]) >= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "ink-2", "accent", "failed"])
@pytest.mark.parametrize("behind", ["bg", "panel", "stripe"])
def test_text_can_be_read(scheme: str, ink: str, behind: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5:1 for text."""
    said = colours(scheme)

    assert contrast(said[ink], said[behind]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("vision", [*_VISION])
@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(OUTCOMES, 2)])
def test_outcomes_can_be_told_apart(scheme: str, vision: str, one: str, other: str) -> None:
    said = colours(scheme)

    assert difference(seen(said[one], vision), seen(said[other], vision)) >= 11

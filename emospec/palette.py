"""Palette: the colours of all figures. A colour belongs to an emotion, whatever a model's order of classes."""

from collections.abc import Sequence
from zlib import crc32

from emospec.vocabulary import common_emotion

INK, FAINT, RULE = "#1f2933", "#66727f", "#d9dee4"
EMOTION_COLORS = {
    "neutral": "#6b7785",
    "angry": "#c8371b",
    "happy": "#c98500",
    "sad": "#0072b2",
    "fearful": "#7a4fb5",
    "disgusted": "#00856f",
    "surprised": "#cc5f9a",
    "calm": "#2f93bd",
    "bored": "#8a6d3b",
    "frustrated": "#7d2a4d",
    "other": "#3b3b3b",
}
"""Colours of the vocabulary's words. Each has a contrast of 3 or more on white (WCAG 2.2, 1.4.11)."""
OTHER_COLORS = ("#4d7c0f", "#3d4fa8", "#a3157c", "#a8551c", "#0f766e", "#94313f")
"""Colours of all other words."""


def class_colors(names: Sequence[str]) -> list[str]:
    """Return the colour of each class, as "#rrggbb": an emotion's own, or one that the hash of the word picks.

    >>> class_colors(["sad", "angry"]) == class_colors(["angry", "sad"])[::-1]
    True
    """
    colors: dict[str, str] = {}
    # In alphabetical order, so that colours do not depend on the model's order of classes.
    for name in sorted(names, key=lambda name: (common_emotion(name) != name, name)):
        color = EMOTION_COLORS.get(common_emotion(name))
        if color and color not in colors.values():
            colors[name] = color
    for name in sorted(set(names) - set(colors)):
        first = crc32(name.encode()) % len(OTHER_COLORS)
        choice = (*OTHER_COLORS[first:], *OTHER_COLORS[:first], *EMOTION_COLORS.values())
        # Classes of one model differ while there are colours.
        colors[name] = next((color for color in choice if color not in colors.values()), choice[0])
    return [colors[name] for name in names]

"""The palette: an emotion has one colour, whatever the classes beside it, and it is seen on white."""

import pytest

from emospec.palette import EMOTION_COLORS, OTHER_COLORS, class_colors
from emospec.vocabulary import VOCABULARY


def test_an_emotion_has_one_color_whatever_the_order_of_the_classes() -> None:
    four = ["neutral", "happy", "angry", "sad"]
    assert class_colors(four)[::-1] == class_colors(four[::-1])
    assert class_colors(["anger", "sad"]) == class_colors(["angry", "sadness"])
    assert class_colors(["bored", "sad"])[1] == class_colors(four)[3]
    assert len(set(class_colors(VOCABULARY))) == len(VOCABULARY)
    others = ["zeal", "awe", "calm", "Calm", "doubt"]
    assert len(set(class_colors(others))) == len(others)
    assert class_colors(others)[::-1] == class_colors(others[::-1])
    assert len(class_colors([str(k) for k in range(40)])) == 40


@pytest.mark.parametrize("color", [*EMOTION_COLORS.values(), *OTHER_COLORS])
def test_colors_of_emotions_are_seen_on_white(color: str) -> None:
    parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    assert 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) >= 3

"""Colours of every picture that emospec draws."""

INK, FAINT, RULE = "#1f2933", "#66727f", "#d9dee4"
CLASS_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#3b3b3b", "#b8a800")
"""Okabe and Ito's palette for the colour-blind, its yellow darkened to be seen on white."""


def class_color(index: int) -> str:
    """The colour of a class, by its place among the classes."""
    return CLASS_COLORS[index % len(CLASS_COLORS)]

"""Figures of a report: confusion matrices, learning curves, PCA panels of z, recall, sweeps, reliability.

Every function returns a `matplotlib.figure.Figure` made without pyplot, so that no global state is left behind.
report.html.j2 has the captions.
"""

import io
import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from emospec.evaluation.calibration import Calibration
from emospec.evaluation.summary import Summary
from emospec.evaluation.sweeps import SYMBOLS, Sweep
from emospec.files import write_bytes
from emospec.palette import FAINT, INK, RULE, class_colors
from emospec.report.published import PUBLISHED_ON, published
from emospec.report.words import percent
from emospec.runs.record import RunRecord

_CLASS_MARKERS = "os^DvPX*"
_SETTING_COLORS = ("#8a97a6", "#0b6e8f", "#c8641b", "#5d4aa3", "#3f8f4f", "#b03060", "#7a5c2e", "#2f4b7c")
_SHARES = LinearSegmentedColormap.from_list("shares", ["#f5f8fa", "#a9cfdd", "#3d8fae", "#0a4a63"])
_DOTS_PER_INCH = 160
# About, at 9.5 points.
_LETTERS_PER_INCH = 12
_MOST_LETTERS = 16
# A panel with more points than this draws them as an image inside the SVG.
_MOST_VECTOR_POINTS = 1000

_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    # Labels come from corpora and presets: "$" in one is a dollar sign, not mathematics.
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": FAINT,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#eceff2",
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.09,
    "figure.constrained_layout.w_pad": 0.09,
    # Paths look the same where the font is not installed; with the salt, the same run gives the same bytes.
    "svg.fonttype": "path",
    "svg.hashsalt": "emospec",
}


@rc_context(_STYLE)
def confusion_figure(summary: Summary) -> Figure:
    """Draw the confusion matrix: percent of each true class, with the count below; "n/a" without test samples."""
    classes, counts = _short(summary.classes), summary.confusion
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)
    side = 1.7 + 0.62 * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.nan_to_num(shares), cmap=_SHARES, vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(shares):
        if math.isnan(share):
            axes.text(j, i, "n/a", ha="center", va="center", color=FAINT)
            continue
        color = "white" if share > 0.5 else INK
        axes.text(j, i - 0.1, f"{100 * share:.0f} %", ha="center", va="center", color=color, weight="bold")
        axes.text(j, i + 0.2, str(counts[i, j]), ha="center", va="center", color=color, size=7.5, alpha=0.85)
    slanted: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(classes)), classes, **(slanted if len(classes) > 5 else {}))
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xticks(np.arange(1, len(classes)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(classes)) - 0.5, minor=True)
    axes.grid(visible=False)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true class", title=fill(summary.setting, int(8 * side)))
    return figure


@rc_context(_STYLE)
def learning_curves(summaries: Sequence[Summary]) -> Figure:
    """Draw training loss and dev UA over steps: runs thin, their mean thick, chosen steps as dots."""
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    loss_axes, dev_axes = figure.subplots(1, 2, sharex=True)
    handles = []
    for number, summary in enumerate(summaries):
        color = _setting_color(summaries, number)
        histories = [run.history().set_index("step") for run in summary.runs]
        _curves(loss_axes, [history["loss"] for history in histories], color)
        _curves(dev_axes, [history["dev_ua"] for history in histories], color)
        # Eq. 4: where lambda > 0 the loss is L_s + lambda L_c; only its softmax part L_s compares with lambda 0.
        if summary.runs[0].settings.loss.center_weight:
            _curves(loss_axes, [history["softmax_loss"] for history in histories], color, part=True)
        chosen = [(run.scores.selected_step, run.scores.dev.ua) for run in summary.runs]
        steps, scores = np.array(chosen, np.float64).T
        dev_axes.plot(steps, scores, "o", color=color, markersize=6, markeredgecolor="white")
        handles.append(Line2D([], [], color=color, linewidth=2, label=summary.setting))
    softmax = "softmax part of the loss"
    handles.append(Line2D([], [], color=FAINT, linewidth=1.3, linestyle=":", label=softmax))
    handles.append(Line2D([], [], color=FAINT, marker="o", linestyle="", label="chosen step"))
    loss_axes.set(xlabel="step", title="Training loss")
    loss_axes.set_ylim(bottom=0)
    dev_axes.set(xlabel="step", title="UA on dev")
    _in_percent(dev_axes.yaxis)
    _legend(figure, handles)
    return figure


def _curves(axes: Axes, series: "Sequence[pd.Series[float]]", color: str, part: bool = False) -> None:
    """Draw each series over its steps, thin, and their mean, thick; of a part of the loss only the mean, dotted."""
    series = [values.dropna() for values in series]
    if len(series) > 1 and not part:
        for values in series:
            axes.plot(values.index, values, color=color, linewidth=0.7, alpha=0.35)
    # The mean covers the steps that all runs of the setting have.
    mean = pd.concat(series, axis=1, join="inner").mean(axis=1).sort_index()
    axes.plot(mean.index, mean, color=color, linewidth=1.3 if part else 2, linestyle=":" if part else "-")


@rc_context(_STYLE)
def pca_panels(*runs: RunRecord) -> Figure:
    """Draw training and test z in two dimensions, a row of two panels per run: the four of Dai et al. 2019 for two."""
    figure = Figure(figsize=(8.6, 0.7 + 4.0 * len(runs)), layout="constrained")
    rows = figure.subplots(len(runs), 2, squeeze=False)
    for run, (train_axes, test_axes) in zip(runs, rows, strict=True):
        features = run.features()
        weight = run.settings.loss.center_weight
        center = f"with centre loss (λ {weight:g})" if weight else "without centre loss"
        for axes, part, title in ((train_axes, "train", "Training"), (test_axes, "test", "Test")):
            chosen = features["part"] == part
            axes.set_title(f"{title}, {center}")
            _pca_panel(axes, features["z"][chosen], features["label"][chosen], run.classes)
    looks = zip(_short(runs[0].classes), class_colors(runs[0].classes), cycle(_CLASS_MARKERS), strict=False)
    _legend(figure, [Line2D([], [], color=c, marker=m, linestyle="", label=name) for name, c, m in looks])
    return figure


def _legend(figure: Figure, handles: Sequence[Any]) -> None:
    """Add one legend below the panels, of as many columns as the figure has room for."""
    room = _LETTERS_PER_INCH * figure.get_figwidth()
    widths = [len(str(handle.get_label())) + 7 for handle in handles]
    columns = len(handles) if sum(widths) <= room else max(1, int(room / max(widths)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def _short(names: Sequence[str]) -> list[str]:
    return [name if len(name) <= _MOST_LETTERS else name[: _MOST_LETTERS - 1] + "…" for name in names]


def _setting_color(summaries: Sequence[Summary], number: int) -> str:
    """Return the colour of one of several settings; the first, grey, is kept for lambda 0."""
    shift = int(summaries[0].runs[0].settings.loss.center_weight > 0)
    return _SETTING_COLORS[(number + shift) % len(_SETTING_COLORS)]


def _in_percent(*axes: Axis) -> None:
    for axis in axes:
        axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


def _bars_in_percent(axes: Axes) -> None:
    _in_percent(axes.yaxis)
    axes.grid(visible=False, axis="x")
    axes.tick_params(length=0)


def _pca_panel(axes: Axes, z: NDArray[Any], labels: NDArray[Any], classes: Sequence[str]) -> None:
    # Each panel has a PCA of its own: the scales of different panels do not compare.
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    if len(z) < 3 or not np.ptp(z, axis=0).any():
        reason = "fewer than 3 utterances" if len(z) < 3 else "all z are equal"
        axes.text(0.5, 0.5, f"n/a: {reason}", transform=axes.transAxes, ha="center", va="center", color=FAINT)
        return
    plane = PCA(n_components=2, svd_solver="full")
    coordinates = plane.fit_transform(np.asarray(z, np.float64))
    first, second = (f"{100 * share:.1f} %" for share in plane.explained_variance_ratio_)
    axes.set(xlabel=f"PC 1 ({first})", ylabel=f"PC 2 ({second})")
    axes.set_aspect("equal", adjustable="datalim")
    size = float(np.clip(4000 / len(z), 5, 26))
    for name, color, marker in zip(classes, class_colors(classes), cycle(_CLASS_MARKERS), strict=False):
        points = coordinates[labels == name]
        axes.scatter(
            points[:, 0], points[:, 1], s=size, color=color, marker=marker, alpha=0.7, linewidths=0,
            label=name, rasterized=len(z) > _MOST_VECTOR_POINTS,
        )  # fmt: skip


@rc_context(_STYLE)
def recall_bars(summaries: Sequence[Summary]) -> Figure:
    """Draw the recall of each class, one bar per setting; "n/a" for a class without test samples."""
    classes = summaries[0].classes
    width = min(0.5, 0.8 / len(summaries))
    inches = max(8.6, 1.2 + 0.36 * len(classes) * (len(summaries) + 1))
    figure = Figure(figsize=(inches, 3.7), layout="constrained")
    axes = figure.subplots()
    for number, summary in enumerate(summaries):
        places = np.arange(len(classes)) + (number - (len(summaries) - 1) / 2) * width
        values = [summary.recall[name] for name in classes]
        color = _setting_color(summaries, number)
        axes.bar(places, np.nan_to_num(values), width * 0.9, color=color, label=summary.setting)
        for place, value in zip(places, values, strict=True):
            words, top = "n/a" if math.isnan(value) else f"{100 * value:.0f}", np.nan_to_num(value) + 0.012
            axes.text(place, top, words, ha="center", va="bottom", size=7.5, color=FAINT)
    chance = axes.axhline(1 / len(classes), color=FAINT, linewidth=1, linestyle="--", label="chance")
    axes.set_xticks(range(len(classes)), _short(classes))
    axes.set_ylim(0, 1.08)
    axes.set_yticks(np.arange(0, 1.01, 0.2))
    _bars_in_percent(axes)
    axes.set_title("Recall by class")
    _legend(figure, [*axes.containers, chance])
    return figure


@rc_context(_STYLE)
def sweep_bars(sweep: Sweep) -> Figure:
    """Draw UA and WA over the values of one key, and the paper's numbers where it has them."""
    places = np.arange(len(sweep.summaries))
    figure = Figure(figsize=(max(5.0, 1.6 + 0.9 * len(places)), 3.5), layout="constrained")
    axes = figure.subplots()
    beside = [published(s) if sweep.key in SYMBOLS else None for s in sweep.summaries]
    highest, bars = 0.0, []
    for shift, name, color in ((-0.2, "ua", _SETTING_COLORS[1]), (0.2, "wa", _SETTING_COLORS[0])):
        values = np.array([getattr(summary, name) for summary in sweep.summaries])
        spread = np.nan_to_num([getattr(summary, f"{name}_deviation") for summary in sweep.summaries])
        bars.append(axes.bar(places + shift, values, 0.37, color=color, label=name.upper()))
        axes.errorbar(places + shift, values, spread, fmt="none", ecolor=INK, elinewidth=1, capsize=2.5)
        look: dict[str, Any] = {"ha": "center", "va": "bottom", "size": 7.5, "weight": "bold"}
        for place, value in zip(places + shift, values, strict=True):
            axes.text(place, 0.015, percent(value), color="white", **look)
        highest = max(highest, float(np.nanmax(values + spread)))
        theirs = np.array([getattr(paper, name) if paper else np.nan for paper in beside])
        marks = axes.scatter(
            places + shift, theirs, 22, marker="D", facecolor="white", edgecolor=INK, linewidth=1, zorder=3,
            label=f"published, {PUBLISHED_ON}",
        )  # fmt: skip
    axes.set_xticks(places, sweep.values)
    axes.set_ylim(0, max(highest, *(paper.ua for paper in beside if paper), 0) + 0.1)
    _bars_in_percent(axes)
    labels = {"λ": "weight of the centre loss λ", "α": "rate of the centres α"}
    axes.set_xlabel(labels.get(sweep.symbol, sweep.key))
    _legend(figure, [*bars, *([marks] if any(beside) else [])])
    return figure


@rc_context(_STYLE)
def reliability_figure(calibration: Calibration, setting: str) -> Figure:
    """Draw accuracy by confidence on test, before and after the temperature; dots grow with the bin's share."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    # On the diagonal the probabilities are calibrated.
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
    stages = ("before", calibration.before), ("after", calibration.after)
    for (name, bins), color in zip(stages, _SETTING_COLORS, strict=False):
        full = bins.counts > 0
        confidence, accuracy = bins.confidence[full], bins.accuracy[full]
        axes.plot(confidence, accuracy, color=color, linewidth=1.2)
        sizes = 20 + 300 * bins.counts[full] / bins.counts.sum()
        label = f"{name}: ECE {100 * bins.error:.1f} %"
        axes.scatter(confidence, accuracy, sizes, color=color, linewidths=0, label=label)
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03), xlabel="confidence", ylabel="accuracy")
    _in_percent(axes.xaxis, axes.yaxis)
    axes.set_title(fill(setting, 40))
    legend = axes.legend(loc="upper left")
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([36])
    return figure


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write `stem`.png (160 dots per inch) and `stem`.svg, each whole or not at all, and return their paths."""
    paths = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".svg")
    with rc_context(_STYLE):
        for path, metadata in zip(paths, ({"Software": None}, {"Date": None}), strict=True):
            content = io.BytesIO()
            figure.savefig(content, format=path.suffix[1:], dpi=_DOTS_PER_INCH, metadata=metadata)
            write_bytes(path, content.getvalue())
    return paths

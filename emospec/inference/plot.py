"""A recording at a glance: waveform, spectrogram, and the emotions along it.

Only this room of the wing imports matplotlib (the extra `plot`). It reads a recording block by block and
keeps what a picture's columns show, so a recording of hours needs no more memory than one of minutes.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.inference.timeline import Timeline
from emospec.palette import FAINT, INK, RULE, class_colors

COLUMNS = 1600  # at most
DFT_LENGTH = 512
DYNAMIC_RANGE_DB = 70.0
FLOOR = 1e-10


@dataclass(frozen=True)
class Overview:
    """A recording in columns of equal width in time.

    Attributes:
        low, high: (columns,) least and greatest sample.
        power: (columns, bins) mean |X|^2, 0 to 8 kHz.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    power: NDArray[np.float64]


def overview(blocks: Iterable[Waveform], samples: int) -> Overview:
    """Sum a recording up for a picture.

    Args:
        blocks: the recording, (samples,) each, 16 kHz.
        samples: in all, at least 1.
    """
    columns = max(1, min(COLUMNS, samples // (DFT_LENGTH // 2)))
    low, high = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    power, counts = np.zeros((columns, DFT_LENGTH // 2 + 1)), np.zeros(columns)
    window = np.hanning(DFT_LENGTH).astype(np.float32)
    place = 0
    for block in blocks:
        column = np.minimum((place + np.arange(len(block))) * columns // samples, columns - 1)
        np.minimum.at(low, column, block)
        np.maximum.at(high, column, block)
        padded = np.pad(block, (0, -len(block) % DFT_LENGTH))
        frames = np.square(np.abs(np.fft.rfft(padded.reshape(-1, DFT_LENGTH) * window)))
        at = column[np.minimum(np.arange(len(frames)) * DFT_LENGTH + DFT_LENGTH // 2, len(block) - 1)]
        np.add.at(power, at, frames)
        np.add.at(counts, at, 1)
        place += len(block)
    filled = np.flatnonzero(counts)
    if len(filled):  # a column narrower than a frame shows its neighbour
        nearest = filled[np.abs(np.arange(columns)[:, None] - filled).argmin(axis=1)]
        power = power[nearest] / counts[nearest, None]
    return Overview(low, high, power)


def draw(timeline: Timeline, seen: Overview) -> Figure:
    """The picture: waveform, spectrogram, and a band of emotions, darker the surer, on one time axis."""
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    wave, spectrum, band = figure.subplots(3, 1, sharex=True, height_ratios=[1.2, 2.2, 0.9])
    columns = len(seen.low)
    edges = np.linspace(0, timeline.duration_seconds, columns + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    wave.fill_between(middles, seen.low, seen.high, color=INK, linewidth=0.4)
    limit = max(0.05, float(np.abs([seen.low, seen.high]).max()))
    wave.set(ylim=(-limit, limit), ylabel="amplitude", title=timeline.recording.replace("$", r"\$"))
    decibels = 10 * np.log10(np.maximum(seen.power, FLOOR))
    spectrum.imshow(
        np.maximum(decibels, decibels.max() - DYNAMIC_RANGE_DB).T,
        origin="lower",
        aspect="auto",
        extent=(0, timeline.duration_seconds, 0, SAMPLE_RATE / 2000),
        cmap="magma",
    )
    spectrum.set(ylabel="kHz")
    _band(band, timeline)
    for axes in (wave, spectrum, band):
        axes.tick_params(colors=FAINT)
        for spine in axes.spines.values():
            spine.set_color(RULE)
    return figure


def _band(axes: Axes, timeline: Timeline) -> None:
    """A bar per segment, its height the confidence; a legend of the emotions that occur."""
    colors = dict(zip(timeline.classes, class_colors(timeline.classes), strict=True))
    for s in timeline.segments:
        length = s.end_seconds - s.start_seconds
        if s.emotion is None or s.confidence is None:
            continue
        color = colors[s.emotion]
        axes.broken_barh([(s.start_seconds, length)], (0, 1), color=color, alpha=0.18, linewidth=0)
        axes.broken_barh([(s.start_seconds, length)], (0, s.confidence), color=color, linewidth=0)
    if not timeline.has_speech:
        axes.text(0.5, 0.5, "no speech found", transform=axes.transAxes, ha="center", va="center", color=INK)
    present = [name for name in timeline.classes if any(s.emotion == name for s in timeline.segments)]
    handles = [Patch(color=colors[name], label=name.replace("$", r"\$")) for name in present]
    axes.set(xlim=(0, timeline.duration_seconds), ylim=(0, 1), ylabel="confidence", xlabel="seconds")
    if handles:
        axes.legend(
            handles=handles,
            ncols=min(8, len(handles)),
            loc="upper center",
            bbox_to_anchor=(0.5, -0.55),
            frameon=False,
        )


def to_image(figure: Figure, form: str = "png") -> bytes:
    """Return the picture as a file of `png`, `jpg`, `svg` or `pdf`, 150 dots per inch; equal pictures are equal files."""
    out = io.BytesIO()
    dateless = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form)
    with rc_context({"svg.hashsalt": "emospec"}):
        figure.savefig(out, format=form, dpi=150, metadata=dateless)
    return out.getvalue()


def to_png(figure: Figure) -> bytes:
    """Return the picture as a PNG."""
    return to_image(figure)

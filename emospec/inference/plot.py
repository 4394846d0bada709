"""A picture of a recording: waveform, spectrogram and the emotions along it.

The only module of the wing that imports matplotlib (the extra `plot`). Reads block by block and keeps only the
picture's columns, so that hours need no more memory than minutes.
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

_MOST_COLUMNS = 1600
_FRAME_SAMPLES = 512
_RANGE_DB, _LEAST_POWER = 70.0, 1e-10


@dataclass(frozen=True)
class Overview:
    """A recording in columns: (columns,) least and greatest sample, (columns, bins) mean |X|^2, 0 to 8 kHz."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    power: NDArray[np.float64]


def overview(blocks: Iterable[Waveform], samples: int) -> Overview:
    """Return the overview of a recording that comes in blocks of (samples,) at 16 kHz, `samples` (1 or more) in all."""
    columns = max(1, min(_MOST_COLUMNS, samples // (_FRAME_SAMPLES // 2)))
    low, high = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    power, counts = np.zeros((columns, _FRAME_SAMPLES // 2 + 1)), np.zeros(columns)
    window = np.hanning(_FRAME_SAMPLES).astype(np.float32)
    position = 0
    for block in blocks:
        # Each sample goes to the column of its time, each frame to that of its middle.
        column = np.minimum((position + np.arange(len(block))) * columns // samples, columns - 1)
        np.minimum.at(low, column, block)
        np.maximum.at(high, column, block)
        padded = np.pad(block, (0, -len(block) % _FRAME_SAMPLES))
        frames = np.square(np.abs(np.fft.rfft(padded.reshape(-1, _FRAME_SAMPLES) * window)))
        middles = np.arange(len(frames)) * _FRAME_SAMPLES + _FRAME_SAMPLES // 2
        of_frames = column[np.minimum(middles, len(block) - 1)]
        np.add.at(power, of_frames, frames)
        np.add.at(counts, of_frames, 1)
        position += len(block)
    filled = np.flatnonzero(counts)
    if len(filled):
        # A column narrower than a frame shows its neighbour.
        nearest = filled[np.abs(np.arange(columns)[:, None] - filled).argmin(axis=1)]
        power = power[nearest] / counts[nearest, None]
    return Overview(low, high, power)


def draw(timeline: Timeline, recording: Overview) -> Figure:
    """Return the waveform, the spectrogram and the emotions with their confidence on one time axis."""
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    wave, spectrum, band = figure.subplots(3, 1, sharex=True, height_ratios=[1.2, 2.2, 0.9])
    edges = np.linspace(0, timeline.duration_seconds, len(recording.low) + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    wave.fill_between(middles, recording.low, recording.high, color=INK, linewidth=0.4)
    limit = max(0.05, float(np.abs([recording.low, recording.high]).max()))
    wave.set(ylim=(-limit, limit), ylabel="amplitude", title=timeline.recording.replace("$", r"\$"))
    decibels = 10 * np.log10(np.maximum(recording.power, _LEAST_POWER))
    shown = np.maximum(decibels, decibels.max() - _RANGE_DB).T
    extent = (0, timeline.duration_seconds, 0, SAMPLE_RATE / 2000)
    spectrum.imshow(shown, origin="lower", aspect="auto", extent=extent, cmap="magma")
    spectrum.set(ylabel="kHz")
    _band(band, timeline)
    for axes in (wave, spectrum, band):
        axes.tick_params(colors=FAINT)
        for spine in axes.spines.values():
            spine.set_color(RULE)
    return figure


def _band(axes: Axes, timeline: Timeline) -> None:
    """Draw a bar per segment as high as its confidence, and a legend of the emotions that occur."""
    colors = dict(zip(timeline.classes, class_colors(timeline.classes), strict=True))
    for s in timeline.segments:
        if s.emotion is not None and s.confidence is not None:
            extent, color = [(s.start_seconds, s.end_seconds - s.start_seconds)], colors[s.emotion]
            axes.broken_barh(extent, (0, 1), color=color, alpha=0.18, linewidth=0)
            axes.broken_barh(extent, (0, s.confidence), color=color, linewidth=0)
    if not timeline.has_speech:
        axes.text(0.5, 0.5, "no speech found", transform=axes.transAxes, ha="center", va="center", color=INK)
    present = [name for name in timeline.classes if any(s.emotion == name for s in timeline.segments)]
    handles = [Patch(color=colors[name], label=name.replace("$", r"\$")) for name in present]
    axes.set(xlim=(0, timeline.duration_seconds), ylim=(0, 1), ylabel="confidence", xlabel="seconds")
    if handles:
        columns, below = min(8, len(handles)), (0.5, -0.55)
        axes.legend(handles=handles, ncols=columns, loc="upper center", bbox_to_anchor=below, frameon=False)


def to_image(figure: Figure, form: str = "png") -> bytes:
    """Return the picture as `png`, `jpg`, `svg` or `pdf`, 150 dots per inch."""
    out = io.BytesIO()
    # Without a date and random names, equal pictures are equal files.
    dateless = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form)
    with rc_context({"svg.hashsalt": "emospec"}):
        figure.savefig(out, format=form, dpi=150, metadata=dateless)
    return out.getvalue()

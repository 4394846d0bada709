"""The front end against the method written out naively, whatever the padding and the length."""

import numpy as np
import pytest
import torch
from scipy.signal import get_window

from conftest import tone
from emospec.audio.frames import central_frames, frame_count
from emospec.export.graph import GraphFrontend
from emospec.learning.spectrogram import (
    MAX_FRAMES,
    LogSpectrogram,
    hz_from_mel,
    mel_filters,
    mel_from_hz,
)

KINDS = ("log-mel", "log-stft")


def alone(frontend: LogSpectrogram, waveform: np.ndarray) -> np.ndarray:
    frames, counts = frontend.decibels(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
    assert frames.shape[1] == counts[0]
    return frames[0].numpy()


def naive_decibels(waveform: np.ndarray, kind: str) -> np.ndarray:
    """METHOD, one frame at a time, in float64."""
    window = np.zeros(1024)
    window[192:832] = get_window("hamming", 640, fftbins=True)
    padded = np.concatenate([np.zeros(512), waveform.astype(np.float64), np.zeros(1024)])
    filters, rows = mel_filters().astype(np.float64), []
    for t in range(1 + len(waveform) // 160):
        power = np.abs(np.fft.rfft(padded[160 * t : 160 * t + 1024] * window)) ** 2
        if kind == "log-mel":
            power = np.array([(power * filters[:, band]).sum() for band in range(128)])
        else:
            power = power + 1e-8
        rows.append([10 * np.log10(max(p, 1e-10)) for p in power])
    frames = np.array(rows)
    frames = np.maximum(frames, frames.max() - 80)
    first = max(0, (len(frames) - 1400) // 2)
    return frames[first : first + 1400]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [1, 159, 160, 16_000, 30_001])
def test_frames_are_the_methods(kind: str, samples: int) -> None:
    waveform = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
    frames = alone(LogSpectrogram(kind), waveform)
    np.testing.assert_allclose(frames, naive_decibels(waveform, kind), atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tone_lights_its_band(kind: str) -> None:
    frontend = LogSpectrogram(kind)
    for hz in (125.0, 1000.0, 4000.0, 7800.0):
        bins = frontend.bins
        centers = (
            hz_from_mel(np.linspace(0, float(mel_from_hz(8000)), 130))[1:-1]
            if bins == 128
            else np.arange(513) * 15.625
        )
        lit = centers[alone(frontend, tone(hz, 1.0))[20:80].mean(axis=0).argmax()]
        assert abs(lit - hz) < max(20.0, 0.03 * hz)


def test_slaneys_scale_and_filters() -> None:
    hz = np.array([0.0, 500.0, 1000.0, 2000.0, 8000.0])
    np.testing.assert_allclose(hz_from_mel(mel_from_hz(hz)), hz, atol=1e-9)
    assert mel_from_hz(500.0) == pytest.approx(7.5)
    filters = mel_filters()
    assert filters.shape == (513, 128)
    # Area 1 per Hz; the sum over 15.625 Hz bins is exact only where a triangle spans many bins.
    np.testing.assert_allclose(filters[:, 90:].sum(axis=0) * 15.625, 1.0, rtol=0.02)
    assert (filters.sum(axis=0) > 0).all()


def test_the_floor_is_80_db_below_the_utterances_maximum_before_the_crop() -> None:
    loud_then_soft = np.concatenate([tone(1000, 1.0, level=0.9), 1e-4 * tone(1000, 20.0)])
    frames = alone(LogSpectrogram("log-mel"), loud_then_soft)
    whole = alone(LogSpectrogram("log-mel", max_frames=0), loud_then_soft)
    assert len(frames) == MAX_FRAMES
    assert len(whole) == 2101
    assert frames.min() == pytest.approx(whole.max() - 80, abs=1e-4)
    first = (2101 - 1400) // 2
    np.testing.assert_array_equal(frames, whole[first : first + 1400])


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing_even_when_it_is_garbage(kind: str) -> None:
    rng = np.random.default_rng(0)
    lengths = [1600, 7999, 48_000, 480_000]
    frontend = LogSpectrogram(kind)
    frontend.fit([rng.normal(-40, 15, (500, frontend.bins)).astype(np.float32)])
    waveforms = [rng.normal(0, 0.1, n).astype(np.float32) for n in lengths]
    batch = torch.full((4, 480_100), float("nan"))
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform)
    frames, counts = frontend(batch, torch.tensor(lengths))
    for row, count, waveform in zip(frames, counts, waveforms, strict=True):
        single, single_count = frontend(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
        assert count == single_count[0]
        torch.testing.assert_close(row[:count], single[0, :count], atol=1e-5, rtol=0)
        assert not row[count:].any()


def test_short_utterances_get_zeros_up_to_49_frames() -> None:
    frontend = LogSpectrogram("log-mel")
    frontend.fit([np.random.default_rng(1).normal(-40, 15, (500, 128)).astype(np.float32)])
    frames, counts = frontend(torch.from_numpy(tone(500, 0.1))[None], torch.tensor([1600]))
    assert counts.tolist() == [49]
    assert frames.shape == (1, 49, 128)
    assert frames[0, :11].any(dim=1).all()
    assert not frames[0, 11:].any()


def test_silence_is_finite() -> None:
    for kind in KINDS:
        frames, _ = LogSpectrogram(kind)(torch.zeros(1, 8000), torch.tensor([8000]))
        assert frames.isfinite().all()


def test_statistics_are_over_all_training_frames() -> None:
    rng = np.random.default_rng(2)
    utterances = [rng.normal(-30, 12, (n, 128)).astype(np.float32) for n in (3, 70, 1400)]
    for frames in utterances:
        frames[:, 7] = -80.0
    frontend = LogSpectrogram("log-mel")
    frontend.fit(utterances)
    everything = np.concatenate(utterances).astype(np.float64)
    np.testing.assert_allclose(frontend.mean, everything.mean(axis=0), rtol=1e-5)
    expected = everything.std(axis=0)
    expected[7] = 1.0
    np.testing.assert_allclose(frontend.deviation, expected, rtol=1e-4)
    assert set(frontend.state_dict()) == {"mean", "deviation"}


def test_frame_count() -> None:
    assert frame_count(torch.tensor([1, 159, 160, 16_000])).tolist() == [1, 1, 2, 101]


@pytest.mark.parametrize("kind", KINDS)
def test_front_end_and_graph_keep_the_same_central_frames(kind: str) -> None:
    """Both crop as `central_frames` does, at every length around the limit."""
    frontend = LogSpectrogram(kind, max_frames=60)
    counts = torch.tensor([49, 59, 60, 61, 62, 119, 120])
    frames = torch.arange(120.0)[None, :, None].expand(len(counts), 120, frontend.bins)
    cropped, kept = frontend._crop(frames, counts)
    restated, restated_counts = GraphFrontend(frontend)._crop(frames, counts)
    assert torch.equal(kept, restated_counts)
    for row, graph_row, count in zip(cropped, restated, counts.tolist(), strict=True):
        rows = central_frames(count, 60)
        expected = torch.arange(120.0)[rows]
        assert len(expected) == min(count, 60)
        assert torch.equal(row[: len(expected), 0], expected)
        assert torch.equal(graph_row[: len(expected), 0], expected)
    assert central_frames(2101, 0) == slice(0, 2101)

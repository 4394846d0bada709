"""Each augmentation changes the utterances that it should, as its name says, and no others."""

import numpy as np
import pytest
import torch

from conftest import tone
from emospec.config import Augmentation
from emospec.learning.augmentation import Augmenter, _Draw
from emospec.learning.spectrogram import Kind, LogSpectrogram

HZ = 1000.0


def augmenter(kind: Kind = "log-mel", **settings: float) -> Augmenter:
    return Augmenter(Augmentation.model_validate(settings), LogSpectrogram(kind).frequencies)


def frames_of(*seconds: float, kind: Kind = "log-mel", hz: float = HZ) -> tuple[torch.Tensor, torch.Tensor]:
    waveforms = [torch.from_numpy(tone(hz, s)) for s in seconds]
    lengths = torch.tensor([len(w) for w in waveforms])
    return LogSpectrogram(kind).decibels(
        torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True), lengths
    )


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


EVERYTHING = {
    "speed": 0.2,
    "pitch": 0.2,
    "gain_db": 6.0,
    "noise": 0.5,
    "telephone": 0.5,
    "reverberation": 0.5,
    "masks": 2,
}


@pytest.mark.parametrize("kind", ["log-mel", "log-stft"])
def test_augmentation_depends_on_the_generator_alone(kind: Kind) -> None:
    frames, counts = frames_of(1.0, 0.6, 0.3, kind=kind)
    augment = augmenter(kind, **EVERYTHING)
    first, again, other = (augment(frames, counts, draw(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert first[0].shape != other[0].shape or not torch.equal(first[0], other[0])
    for i, count in enumerate(first[1].tolist()):
        assert first[0][i, :count].isfinite().all()


def test_settings_of_zero_change_nothing() -> None:
    frames, counts = frames_of(1.0)
    assert not augmenter().active
    assert augmenter(gain_db=1.0).active
    same, same_counts = augmenter()(frames, counts, draw())
    assert torch.equal(same, frames)
    assert torch.equal(same_counts, counts)
    assert augmenter(gain_db=1.0).mask(frames, counts, draw()) is frames


def test_speed_changes_duration_and_pitch_changes_frequency() -> None:
    frames, counts = frames_of(*[1.0] * 20)
    _, faster = augmenter(speed=0.2)(frames, counts, draw())
    ratio = faster / counts
    assert 1 / 1.21 < ratio.min() < 0.9
    assert 1.1 < ratio.max() < 1 / 0.79
    frequencies = LogSpectrogram("log-mel").frequencies
    moved, same = augmenter(pitch=0.2)(frames, counts, draw())
    assert torch.equal(same, counts)
    peaks = frequencies[moved[:, 50].argmax(dim=1).numpy()] / HZ
    assert 0.78 < peaks.min() < 0.9
    assert 1.1 < peaks.max() < 1.22


def test_the_gain_moves_every_bin_by_the_same() -> None:
    frames, counts = frames_of(1.0, 1.0)
    louder, _ = augmenter(gain_db=6.0)(frames, counts, draw())
    moved = (louder - frames).flatten(1)
    assert moved.std(dim=1).max() < 1e-4
    assert moved.mean(dim=1).abs().max() <= 6.0
    assert (moved.mean(dim=1).diff().abs() > 0.01).all()


def test_noise_is_added_at_its_snr() -> None:
    frames, counts = frames_of(*[1.0] * 30)
    noisy, _ = augmenter(noise=1.0)(frames, counts, draw())
    clean, after = (10 ** (x[:, 20:80] / 10) for x in (frames, noisy))
    added = (after - clean).clamp(min=0)
    snr = 10 * torch.log10(clean.sum(dim=(1, 2)) / added.sum(dim=(1, 2)))
    assert snr.min() > -3
    assert snr.max() < 33
    assert snr.max() - snr.min() > 15
    half, _ = augmenter(noise=0.5)(frames, counts, draw())
    changed = (half - frames).abs().amax(dim=(1, 2)) > 0.1
    assert 5 < int(changed.sum()) < 25


@pytest.mark.parametrize("babble", [0.0, 1.0])
def test_other_utterances_do_not_change_the_snr(babble: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emospec.learning.augmentation._BABBLE_SHARE", babble)
    monkeypatch.setattr("emospec.learning.augmentation._SNR_DB", (10.0, 10.0))
    frames, counts = frames_of(*[1.0] * 6, 5.0)
    noisy, _ = augmenter(noise=1.0)(frames, counts, draw())
    for clean, after, count in zip(frames, noisy, counts.tolist(), strict=True):
        power, more = (10 ** (x[:count] / 10) for x in (clean, after))
        assert 10 * torch.log10(power.sum() / (more - power).sum()) == pytest.approx(10.0, abs=0.3)


@pytest.mark.parametrize("batch", [1, 3])
def test_no_utterance_is_its_own_babble(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emospec.learning.augmentation._BABBLE_SHARE", 1.0)
    frames, counts = frames_of(*[1.0] * batch)
    noisy, _ = augmenter(noise=1.0)(frames, counts, draw())
    for clean, after, count in zip(frames, noisy, counts.tolist(), strict=True):
        assert float((after - clean)[:count].std()) > 0.1, "a louder copy of itself would be no noise"


def test_noise_scatters_as_the_power_of_gaussian_noise() -> None:
    drawn = _Draw(1, torch.device("cpu"), draw()).exponential(torch.Size([200_000]))
    for level in (0.1, 1.0, 3.0):
        assert float((drawn > level).float().mean()) == pytest.approx(np.exp(-level), abs=5e-3)


def test_a_telephone_keeps_its_band_and_the_dynamic_range() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (1, 16_000)).astype(np.float32))
    frontend = LogSpectrogram("log-mel")
    frames, counts = frontend.decibels(noise, torch.tensor([16_000]))
    narrow, _ = augmenter(telephone=1.0)(frames, counts, draw())
    lost = (frames - narrow)[0].mean(dim=0).numpy()
    in_band = (frontend.frequencies >= 300) & (frontend.frequencies <= 3400)
    assert np.abs(lost[in_band]).max() < 1e-3
    assert lost[~in_band].min() > 40
    assert narrow.max() - narrow.min() <= 80.001


def test_a_room_fills_the_silence_after_a_sound_and_not_before() -> None:
    burst = torch.zeros(1, 16_000)
    burst[0, 6400:8000] = torch.from_numpy(tone(HZ, 0.1))
    frontend = LogSpectrogram("log-mel")
    frames, counts = frontend.decibels(burst, torch.tensor([16_000]))
    room, _ = augmenter(reverberation=1.0)(frames, counts, draw())
    band = int(np.abs(frontend.frequencies - HZ).argmin())
    # By FFT in float32, what is 70 dB below the sound is rounding.
    assert room[0, :36, band].max() < frames.max() - 65
    assert (room - frames)[0, 56:62, band].min() > 10


def test_masks_hide_whole_spans_within_the_utterance() -> None:
    frames, counts = torch.ones(6, 120, 128), torch.tensor([120, 120, 120, 50, 50, 50])
    hidden = augmenter(masks=2).mask(frames, counts, draw()) == 0
    in_time, in_bins = hidden.all(dim=2), hidden.all(dim=1)
    assert torch.equal(hidden, in_time[..., None] | in_bins[:, None])
    assert in_time.any()
    assert in_bins.any()
    assert in_time.sum(dim=1).max() <= 2 * 24
    assert in_bins.sum(dim=1).max() <= 2 * 16
    assert not in_time[3:, 50:].any()


def test_padding_changes_nothing() -> None:
    frames, counts = frames_of(1.0, 0.6)
    settings = {"gain_db": 6.0, "telephone": 1.0, "reverberation": 1.0}
    first, _ = augmenter(**settings)(frames, counts, draw())
    padded = torch.nn.functional.pad(frames, (0, 0, 0, 40), value=77.0)
    other, _ = augmenter(**settings)(padded, counts, draw())
    for i, count in enumerate(counts.tolist()):
        torch.testing.assert_close(first[i, :count], other[i, :count], atol=1e-3, rtol=0)

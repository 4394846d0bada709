"""Fingerprints: bits and errors are those of the formulas, written as plain loops."""

import numpy as np
import pytest
import soxr
from numpy.random import default_rng
from numpy.typing import NDArray

from conftest import tone
from emospec.data import fingerprint as module
from emospec.data.corpora import demo
from emospec.data.fingerprint import MAX_ERROR, bit_errors, fingerprint, near_duplicates, strong_bits
from emospec.data.pack import Pack, prepare

RATE = 16_000


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    root = tmp_path_factory.mktemp("demo")
    demo.synthesise(root / "corpus", speakers=2, per_class=2)
    return prepare(demo.read(root / "corpus"), root / "pack")[0]


def test_a_match_has_places_and_speed_in_either_order(packed: Pack) -> None:
    prints = packed.fingerprints
    quick = fingerprint(soxr.resample(packed.waveform(5), 1.05 * RATE, RATE))[None]
    (match,) = near_duplicates(quick, prints)
    assert (match.first, match.second) == (0, 5)
    assert match.speed == pytest.approx(1.05, rel=0.01)
    assert 0 < match.error < MAX_ERROR
    (mirror,) = near_duplicates(prints, quick)
    assert (mirror.first, mirror.second, mirror.error) == (5, 0, match.error)
    assert mirror.speed == pytest.approx(1 / match.speed)
    assert near_duplicates(quick, prints[:0]) == near_duplicates(prints[:0], quick) == []


def test_bits_are_the_signs_of_the_formula(packed: Pack) -> None:
    energy = module._around_centroid(*module._energies(packed.waveform(0)))
    record = fingerprint(packed.waveform(0))
    total = energy.sum(axis=1)
    loudest = max(total[n] + total[n - module._LAG] for n in range(module._LAG, len(energy)))
    for n in range(0, module._FRAMES, 7):
        now, before = energy[n + module._LAG], energy[n]
        frame = total[n + module._LAG] + total[n]
        for m in range(module._BITS):
            change = (now[m] - now[m + module._WIDTH]) - (before[m] - before[m + module._WIDTH])
            assert (int(record["bits"][n]) >> m) & 1 == (change > 0)
            strong = abs(change) > module._STRONG * frame and frame > loudest * 10 ** (-module._FLOOR_DB / 10)
            assert (int(record["strong"][n]) >> m) & 1 == strong


def test_the_error_is_that_of_a_naive_loop(packed: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LAGS", range(-1, 2))
    monkeypatch.setattr(module, "_SPEEDS", (-2, 0, 1))
    monkeypatch.setattr(module, "_MIN_SHARED", 0.2)
    first, second = packed.fingerprints[0], packed.fingerprints[1]

    def bit(words: NDArray[np.uint64], n: int, m: int) -> int:
        return (int(words[n]) >> m) & 1

    best, at_best = 1.0, (0, 0)
    for power in (-2, 0, 1):
        for lag in (-1, 0, 1):
            count = wrong = 0
            for n in range(module._FRAMES):
                there = round(63.5 + (n - 63.5 + lag) * module._RATIO**power)
                for m in range(module._BITS):
                    lower = m - power  # a faster copy is higher by `power` places
                    if not (0 <= there < module._FRAMES and 0 <= lower < module._BITS):
                        continue
                    if bit(first["strong"], n, m) and bit(second["strong"], there, lower):
                        count += 1
                        wrong += bit(first["bits"], n, m) != bit(second["bits"], there, lower)
            least = 0.2 * min(strong_bits(packed.fingerprints[:2]))
            if count >= least and wrong / count < best:
                best, at_best = wrong / count, (count, power)
    errors, shared, powers = bit_errors(packed.fingerprints[:1], packed.fingerprints[1:2])
    assert errors[0] == best < 1
    assert (shared[0], powers[0]) == at_best


def test_a_tone_lights_its_band() -> None:
    for hz in (350.0, 700.0, 1400.0):
        energy = module._energies(tone(hz, 2.0, level=0.5))[0].mean(axis=0)
        centres = module._LOWEST_HZ * module._RATIO ** (
            np.arange(module._BITS + module._WIDTH) + module._WIDTH / 2
        )
        assert abs(np.log(centres[energy.argmax()] / hz)) <= np.log(module._RATIO)


def test_the_power_of_a_band_is_the_sum_of_shares_of_bins() -> None:
    power = default_rng(0).random((2, 513))
    bands = module._bands(power)
    assert bands.shape == (2, module._BITS + module._WIDTH)
    for m in range(module._BITS + module._WIDTH):
        low, high = (
            module._LOWEST_HZ * module._RATIO**k * module._FRAME_SAMPLES / module._RATE
            for k in (m, m + module._WIDTH)
        )
        shares = [max(0.0, min(high, k + 0.5) - max(low, k - 0.5)) for k in range(513)]
        np.testing.assert_allclose(bands[:, m], power @ shares, rtol=1e-5)

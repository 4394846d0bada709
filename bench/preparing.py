"""`prepare` against a plain loop that decodes, resamples and saves."""

import hashlib
import statistics
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from bench.corpus import durations, synthesise
from bench.measure import CORES, Ratio, in_turn, ratios_of, seconds, table
from bench.plain import decode as plain_decode
from emospec.audio.reader import decode
from emospec.data.fingerprint import fingerprint
from emospec.data.pack import prepare
from emospec.data.utterances import Utterance

FILES = 300


def _at_48k(utterances: list[Utterance]) -> None:
    """Write the recordings again at 48 kHz, so that there is something to resample."""
    for utterance in utterances:
        samples, rate = soundfile.read(utterance.file, dtype="float32")
        soundfile.write(utterance.file, np.repeat(samples, 3), 3 * rate, subtype="PCM_16")


def _costs(utterances: list[Utterance]) -> str:
    """Milliseconds a file of each part of `prepare`, in one thread, in words."""
    waveforms = [decode(utterance.file)[0] for utterance in utterances]
    parts = {
        "decoding and checking": lambda: [decode(utterance.file) for utterance in utterances],
        "hashing": lambda: [hashlib.sha256(waveform.data).hexdigest() for waveform in waveforms],
        "the fingerprint": lambda: [fingerprint(waveform) for waveform in waveforms],
    }
    took = in_turn({name: lambda work=work: seconds(work) for name, work in parts.items()})  # type: ignore[misc]
    return ", ".join(f"{name} {1000 * statistics.median(s) / FILES:.1f}" for name, s in took.items())


def main() -> str:
    """The section of the report."""
    rows, costs = [], []
    for rate in (16000, 48000):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            utterances = synthesise(folder / "audio", durations(FILES))
            if rate != 16000:
                _at_48k(utterances)
            packs, arrays = iter(range(1000)), iter(range(1000))

            def ours(utterances: list[Utterance] = utterances, folder: Path = folder) -> float:
                return seconds(lambda: prepare(utterances, folder / f"pack-{next(packs)}"))  # noqa: B023

            def plain(utterances: list[Utterance] = utterances, folder: Path = folder) -> float:
                out = folder / f"arrays-{next(arrays)}"  # noqa: B023
                out.mkdir()
                return seconds(lambda: [np.save(out / u.file.stem, plain_decode(u.file)) for u in utterances])

            took = in_turn({"ours": ours, "plain": plain})
            costs.append(f"{rate // 1000} kHz: {_costs(utterances)}")
            speeds = (f"{FILES / statistics.median(took[way]):.0f} files/s" for way in ("ours", "plain"))
            rows.append(
                Ratio(
                    f"prepare, {rate // 1000} kHz WAV",
                    "plain loop",
                    ratios_of(took["plain"], took["ours"]),
                    *speeds,
                )
            )
    return f"""## Preparing a corpus

{FILES} files with IEMOCAP's durations. The plain loop decodes, resamples and saves an array per file, in one thread.
`prepare` also checks every header and sample, hashes, and makes the fingerprint by which the audit finds altered
copies; it uses {CORES} threads. Its parts, ms a file in one thread: {"; ".join(costs)}.

{table(rows)}
"""

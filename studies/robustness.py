"""Measure robustness: UA on recordings altered by noise, telephone, MP3, level, room and speed.

`python -m studies.robustness PACK RUNS [--int8]` takes the RUNS of a speaker-independent cross-validation on PACK,
exports the model of each fold, evaluates it on its own test utterances, as recorded and altered (noise by a fixed
seed), and prints the table of a model card.
"""

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.signal import butter, fftconvolve, sosfilt

from bench.scores import pooled_score, score_cell
from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.data.pack import Pack
from emospec.errors import exit_on_error
from emospec.evaluation.summary import rows_of_test
from emospec.export.model_folder import export_model
from emospec.inference.prediction import Prediction
from emospec.inference.recognizer import Recognizer
from emospec.runs.record import find_runs

Alter = Callable[[Waveform, np.random.Generator], Waveform | bytes]
ROOM_SECONDS, SPEED, QUIETER_DB = 0.6, 1.1, 20.0
# The compression level of libsndfile that gives 31 kbit/s at 16 kHz.
MP3_32_KBIT = 0.85


def _noise(snr_db: float) -> Alter:
    """Return a function that adds pink noise, `snr_db` below the mean power of the utterance."""

    def alter(waveform: Waveform, rng: np.random.Generator) -> Waveform:
        spectrum = np.fft.rfft(rng.standard_normal(len(waveform)))
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        noise = np.fft.irfft(spectrum, len(waveform))
        wanted = np.mean(np.square(waveform)) / 10 ** (snr_db / 10)
        return np.asarray(waveform + noise * np.sqrt(wanted / np.mean(np.square(noise))), np.float32)

    return alter


def _telephone(waveform: Waveform, _: np.random.Generator) -> Waveform:
    """Return the waveform cut to 300 to 3400 Hz at 8 kHz and quantised to the 256 steps of the mu-law."""
    band = butter(4, (300, 3400), "bandpass", fs=8000, output="sos")
    narrow = sosfilt(band, soxr.resample(waveform, SAMPLE_RATE, 8000))
    peak = max(float(np.abs(narrow).max()), 1e-9)
    compressed = np.sign(narrow) * np.log1p(255 * np.abs(narrow / peak)) / np.log(256)
    steps = np.round(compressed * 127) / 127
    expanded = peak * np.sign(steps) * (256 ** np.abs(steps) - 1) / 255
    return np.asarray(soxr.resample(expanded, 8000, SAMPLE_RATE), np.float32)


def _mp3(waveform: Waveform, _: np.random.Generator) -> bytes:
    """Return the content of an MP3 file of the waveform."""
    file = io.BytesIO()
    soundfile.write(
        file, np.clip(waveform, -1, 1), SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III",
        compression_level=MP3_32_KBIT, bitrate_mode="CONSTANT",
    )  # fmt: skip
    return file.getvalue()


def _room(waveform: Waveform, rng: np.random.Generator) -> Waveform:
    """Return the waveform in a room: a tail of noise, as loud as the direct sound, decays by 60 dB in 0.6 s."""
    time = np.arange(round(ROOM_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / ROOM_SECONDS)
    tail[: round(0.005 * SAMPLE_RATE)] = 0
    response = tail / np.sqrt(np.square(tail).sum())
    response[0] = 1.0
    return np.asarray(fftconvolve(waveform, response), np.float32)


CONDITIONS: dict[str, Alter] = {
    "as recorded": lambda waveform, _: waveform,
    "pink noise, 20 dB SNR": _noise(20),
    "pink noise, 10 dB SNR": _noise(10),
    "pink noise, 0 dB SNR": _noise(0),
    "telephone, 300 to 3400 Hz, mu-law": _telephone,
    "MP3, 32 kbit/s": _mp3,
    "20 dB quieter": lambda waveform, _: np.asarray(waveform / 10 ** (QUIETER_DB / 20), np.float32),
    "room of 0.6 s": _room,
    "1.1 times as fast": lambda waveform, _: np.asarray(
        soxr.resample(waveform, SPEED * SAMPLE_RATE, SAMPLE_RATE), np.float32
    ),
}


def predict_tests(runs: Path, pack: Pack, int8: bool) -> tuple[list[int], dict[str, list[str]]]:
    """Return the places in the pack of every fold's test utterances, and the predictions under each condition."""
    places: list[int] = []
    predicted: dict[str, list[str]] = {name: [] for name in CONDITIONS}
    for run in find_runs([runs]):
        ids = set(rows_of_test([run])["utterance"])
        tests = [i for i, u in enumerate(pack.utterances) if u.id in ids]
        places += tests
        with tempfile.TemporaryDirectory() as folder:
            model = export_model(run.folder, Path(folder) / "model", int8=pack.folder if int8 else None)
            recognizer = Recognizer(model, int8=int8)
        for name, alter in CONDITIONS.items():
            altered = [alter(pack.waveform(i), np.random.default_rng([0, i])) for i in tests]
            for result in recognizer.predict(altered, SAMPLE_RATE):
                if not isinstance(result, Prediction):
                    raise SystemExit(f"{name}: {result.error}")
                predicted[name].append(result.emotion or "")
    return places, predicted


def main() -> None:
    """Evaluate under each condition and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pack", type=Path, help="the pack that the runs were trained on")
    parser.add_argument("runs", type=Path, help="folder of a speaker-independent cross-validation")
    parser.add_argument("--int8", action="store_true", help="evaluate the quantised models")
    options = parser.parse_args()
    pack = Pack(options.pack)
    corpora = sorted({u.corpus for u in pack.utterances})
    print(f"| recordings | UA % [95%] | {' | '.join(corpora)} |\n|---|---|{'---|' * len(corpora)}")
    places, predicted = predict_tests(options.runs, pack, options.int8)
    utterances = [pack.utterances[i] for i in places]
    for name, words in predicted.items():
        scores = [pooled_score(utterances, words)]
        for corpus in corpora:
            of_corpus = [k for k, u in enumerate(utterances) if u.corpus == corpus]
            scores.append(pooled_score([utterances[k] for k in of_corpus], [words[k] for k in of_corpus]))
        print(f"| {name} | {' | '.join(map(score_cell, scores))} |")


if __name__ == "__main__":
    with exit_on_error("studies.robustness"):
        main()

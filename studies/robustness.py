"""How scores hold where recordings are worse: noise, telephone, MP3, level, room, speed.

python -m studies.robustness PACK RUNS, with RUNS of a speaker-independent cross-validation on PACK, exports each fold's
model and lets it judge its own test utterances, as they are and altered, by seed. Prints the table of a model card.
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

from bench.scores import pooled, told
from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.data.pack import Pack
from emospec.errors import mistakes_in_one_line
from emospec.export.model_folder import export_model
from emospec.inference.recognizer import Prediction, Recognizer
from emospec.runs.record import find_runs

Alter = Callable[[Waveform, np.random.Generator], Waveform | bytes]
ROOM_SECONDS, SPEED, QUIETER_DB = 0.6, 1.1, 20.0
MP3_32_KBIT = 0.85  # libsndfile's compression level: 31 kbit/s at 16 kHz


def _noise(snr_db: float) -> Alter:
    """Pink noise at so many dB below the utterance's mean power."""

    def alter(waveform: Waveform, rng: np.random.Generator) -> Waveform:
        spectrum = np.fft.rfft(rng.standard_normal(len(waveform)))
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        noise = np.fft.irfft(spectrum, len(waveform))
        wanted = np.mean(np.square(waveform)) / 10 ** (snr_db / 10)
        return np.asarray(waveform + noise * np.sqrt(wanted / np.mean(np.square(noise))), np.float32)

    return alter


def _telephone(waveform: Waveform, _: np.random.Generator) -> Waveform:
    """300 to 3400 Hz at 8 kHz, in the 256 steps of the mu-law."""
    narrow = sosfilt(
        butter(4, (300, 3400), "bandpass", fs=8000, output="sos"), soxr.resample(waveform, SAMPLE_RATE, 8000)
    )
    peak = max(float(np.abs(narrow).max()), 1e-9)
    pressed = np.sign(narrow) * np.log1p(255 * np.abs(narrow / peak)) / np.log(256)
    steps = np.round(pressed * 127) / 127
    return np.asarray(
        soxr.resample(peak * np.sign(steps) * (256 ** np.abs(steps) - 1) / 255, 8000, SAMPLE_RATE), np.float32
    )


def _mp3(waveform: Waveform, _: np.random.Generator) -> bytes:
    file = io.BytesIO()
    soundfile.write(
        file, np.clip(waveform, -1, 1), SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III",
        compression_level=MP3_32_KBIT, bitrate_mode="CONSTANT",
    )  # fmt: skip
    return file.getvalue()


def _room(waveform: Waveform, rng: np.random.Generator) -> Waveform:
    """Noise that decays by 60 dB in 0.6 s, as loud as the direct sound, behind it."""
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


def judged(runs: Path, pack: Pack, int8: bool) -> tuple[list[int], dict[str, list[str]]]:
    """Places in the pack of every fold's test utterances, and under each condition what was said of them."""
    places: list[int] = []
    said: dict[str, list[str]] = {name: [] for name in CONDITIONS}
    for run in find_runs([runs]):
        predictions = run.predictions()
        ids = set(predictions.loc[predictions["part"] == "test", "utterance"])
        tests = [i for i, u in enumerate(pack.utterances) if u.id in ids]
        places += tests
        with tempfile.TemporaryDirectory() as folder:
            model = export_model(run.folder, Path(folder) / "model", int8=pack.folder if int8 else None)
            recognizer = Recognizer(model, int8=int8)
        for name, alter in CONDITIONS.items():
            altered = [alter(pack.waveform(i), np.random.default_rng([0, i])) for i in tests]
            for one in recognizer.predict(altered, SAMPLE_RATE):
                if not isinstance(one, Prediction):
                    raise SystemExit(f"{name}: {one.error}")
                said[name].append(one.emotion or "")
    return places, said


def main() -> None:
    """Judge, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--int8", action="store_true")
    options = parser.parse_args()
    pack = Pack(options.pack)
    corpora = sorted({u.corpus for u in pack.utterances})
    print(f"| recordings | UA % [95%] | {' | '.join(corpora)} |\n|---|---|{'---|' * len(corpora)}")
    places, said = judged(options.runs, pack, options.int8)
    utterances = [pack.utterances[i] for i in places]
    for name, words in said.items():
        whole = pooled(utterances, words)
        cells = []
        for corpus in corpora:
            own = [k for k, u in enumerate(utterances) if u.corpus == corpus]
            cells.append(pooled([utterances[k] for k in own], [words[k] for k in own]))
        print(f"| {name} | {' | '.join(map(told, [whole, *cells]))} |")


if __name__ == "__main__":
    with mistakes_in_one_line("studies.robustness"):
        main()

"""Waveform to frames: seconds of audio per second against librosa and kaldi-native-fbank, on one thread."""

import statistics
from functools import cache

import numpy as np

from bench.corpus import durations
from bench.measure import Ratio, in_turn, ratios_of, seconds, table, worker
from bench.plain import log_mel, log_stft

FILES = 100


@cache
def _warm() -> None:
    """The allocator's setting, for the peers too."""
    from emospec.learning.device import reuse_freed_memory

    reuse_freed_memory()


@cache
def _waveforms() -> list[np.ndarray[tuple[int], np.dtype[np.float32]]]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(int(16000 * s), np.float32) / 10 for s in durations(FILES)]


@cache
def _frontend(kind: str):  # type: ignore[no-untyped-def]
    from emospec.learning.spectrogram import LogSpectrogram

    return LogSpectrogram(kind)  # type: ignore[arg-type]


def _emospec(kind: str) -> float:
    import torch

    _warm()
    frontend = _frontend(kind)
    waveforms = [torch.from_numpy(w)[None] for w in _waveforms()]
    with torch.inference_mode():
        return seconds(lambda: [frontend.decibels(w, torch.tensor([w.shape[1]])) for w in waveforms])


def _librosa(kind: str) -> float:
    _warm()
    front_end = log_mel if kind == "log-mel" else log_stft
    return seconds(lambda: [front_end(w) for w in _waveforms()])


def _librosa_filters_kept() -> float:
    """The parts of librosa, as one would put them together who knows that its melspectrogram makes filters at every call."""
    import librosa

    _warm()
    filters = librosa.filters.mel(sr=16000, n_fft=1024)

    def one(waveform: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
        spectrum = librosa.stft(
            y=waveform, n_fft=1024, win_length=640, hop_length=160, window="hamming", pad_mode="constant"
        )
        librosa.power_to_db(filters @ np.abs(spectrum) ** 2, top_db=80)

    return seconds(lambda: [one(w) for w in _waveforms()])


def _kaldi() -> float:
    """128 bands from 40 ms Hamming windows every 10 ms; its mel scale is Kaldi's, its DFT 1024 long too."""
    import kaldi_native_fbank

    _warm()
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq, options.frame_opts.window_type = 16000, "hamming"
    options.frame_opts.frame_length_ms, options.frame_opts.frame_shift_ms = 40, 10
    options.frame_opts.dither, options.frame_opts.preemph_coeff = 0, 0
    options.frame_opts.remove_dc_offset, options.frame_opts.snip_edges = False, False
    options.mel_opts.num_bins, options.mel_opts.low_freq, options.mel_opts.high_freq = 128, 0, 8000

    def one(waveform: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        fbank = kaldi_native_fbank.OnlineFbank(options)
        fbank.accept_waveform(16000, waveform)
        fbank.input_finished()
        return np.stack([fbank.get_frame(k) for k in range(fbank.num_frames_ready)])

    # It takes any sequence, and a list much faster than an array.
    lists = [w.tolist() for w in _waveforms()]
    return seconds(lambda: [one(w) for w in lists])


def main() -> str:
    """The section of the report."""
    audio = sum(len(w) for w in _waveforms()) / 16000
    rows = []
    with worker(1) as ours, worker(1) as theirs:
        for kind, peer, call, target in (
            ("log-mel", "librosa", (_librosa, "log-mel"), 2.5),
            ("log-mel", "librosa, filters made once", (_librosa_filters_kept,), 2.5),
            ("log-stft", "librosa", (_librosa, "log-stft"), 2.5),
            ("log-mel", "kaldi-native-fbank", (_kaldi,), 1.2),
        ):
            took = in_turn(
                {
                    "ours": lambda kind=kind: ours.submit(_emospec, kind).result(),  # type: ignore[misc]
                    "peer": lambda call=call: theirs.submit(*call).result(),  # type: ignore[misc]
                }
            )
            speeds = (f"{audio / statistics.median(took[way]):.0f} s/s" for way in ("ours", "peer"))
            rows.append(Ratio(kind, peer, ratios_of(took["peer"], took["ours"]), *speeds, target=target))
    return f"""## Front end

Waveforms in memory to frames in dB, one file at a time, one thread, both warm: {FILES} files, {audio:.0f} s of audio with
IEMOCAP's durations; freed memory is kept in both processes. Seconds of audio per second. `librosa.feature.melspectrogram` makes its
filters at every call. kaldi-native-fbank is used from Python, which takes lists and gives frames one by one.

{table(rows)}
"""

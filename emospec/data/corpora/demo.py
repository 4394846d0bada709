"""The demo corpus: speech-like babble of synthetic voices in four emotions, made in seconds.

It stands in where no recorded corpus is at hand. A score on it says that the machinery works, and
nothing about human speech.

Acoustics: the source-filter theory (Fant 1960, Acoustic Theory of Speech Production). A frame of speech is

    S(f) = [P(f) G(f) + a N(f)] V(f) + b M(f) H(f)

- P: a train of band-limited pulses, where the pitch phase, the running sum of f0(t) / sample_rate, passes
  a whole number; jitter moves them, shimmer scales them;
- G = i f Fg / (Fg^2 - f^2 + i f Fg) / (1 + i f / Fa): the derivative of the glottal flow, with glottal
  formant Fg and tilt corner Fa, above which it falls by 12 dB per octave instead of 6
  (Doval, d'Alessandro & Henrich 2006, The spectrum of glottal flow models);
- V: a cascade of resonators A / (1 - B z^-1 - C z^-2), one per formant F of bandwidth W, with
  C = -exp(-2 pi W T), B = 2 exp(-pi W T) cos(2 pi F T), A = 1 - B - C, T = 1 / sample_rate
  (Klatt 1980, Software for a cascade/parallel formant synthesizer, eq. 1 and 2);
- N, M: white noise, as aspiration (gain a), and as frication or burst (gain b, one broad peak H).

Frames are filtered under Hann windows that sum to one, and overlap-added. Formants of vowels follow
Peterson & Barney 1952 (men), those of consonants Klatt 1980, rounded. The directions of the emotional cues
follow Scherer 2003 and Juslin & Laukka 2003, the smile Tartter 1980. Their sizes are ours: set so that the
network of Dai et al. 2019, trained for 300 steps on 12 voices, reaches a UA of 80 to 90% on other voices.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from emospec.audio.waveform import SAMPLE_RATE
from emospec.data.corpora.corpus import Corpus, scan
from emospec.data.utterances import Utterance
from emospec.errors import CorpusError, did_you_mean
from emospec.files import write_bytes

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

SPEAKERS, PER_CLASS = 20, 8
EMOTIONS = ("neutral", "happy", "angry", "sad")
NAME = re.compile(rf"(?P<speaker>S\d\d)_(?P<emotion>{'|'.join(EMOTIONS)})_\d\d")
SHORTEST_SECONDS, LONGEST_SECONDS = 0.8, 3.0

HOP_SAMPLES = 128
WINDOW_SAMPLES = 2 * HOP_SAMPLES
FFT_SAMPLES = 1024
"""Leaves 48 ms after each window for the resonances to die away: by 65 dB at a bandwidth of 50 Hz."""
TRACK_RATE = 1000
"""Hz, of the articulation and pitch tracks; a hop is a whole number of their steps."""

OFF_DB = -80.0
ASPIRATION_DB, FRICATION_DB = -56.0, -31.0
"""Of white noise beside unit pulses; the mean spectrum is then near that of EMO-DB and RAVDESS."""


class Sound(NamedTuple):
    """A stretch of constant articulation: formants of a man in Hz, gains in dB, length in seconds."""

    f1: float
    f2: float
    f3: float
    voice_db: float
    breath_db: float
    noise_db: float
    noise_hz: float
    seconds: float


Phone = tuple[Sound, ...]


def voiced(f1: float, f2: float, f3: float, db: float = 0.0, seconds: float = 0.105) -> Phone:
    """A vowel; weaker and shorter, a nasal or approximant."""
    return (Sound(f1, f2, f3, db, db, OFF_DB, 4000, seconds),)


def fricative(f1: float, f2: float, f3: float, hz: float, db: float, voice_db: float = OFF_DB) -> Phone:
    """Noise that peaks at `hz`, with or without voice."""
    return (Sound(f1, f2, f3, voice_db, -10, db, hz, 0.09),)


def stop(f1: float, f2: float, f3: float, hz: float) -> Phone:
    """Voiceless: silent closure, burst, aspiration."""
    return (
        Sound(f1, f2, f3, OFF_DB, OFF_DB, OFF_DB, hz, 0.060),
        Sound(f1, f2, f3, OFF_DB, 0, 0, hz, 0.014),
        Sound(f1, f2, f3, OFF_DB, 12, -22, hz, 0.030),
    )


def voiced_stop(f1: float, f2: float, f3: float, hz: float) -> Phone:
    """Murmur behind the closure, then a weaker burst."""
    return (Sound(f1, f2, f3, -14, OFF_DB, OFF_DB, hz, 0.05), Sound(f1, f2, f3, -14, -6, -6, hz, 0.01))


# fmt: off
VOWELS = {
    "IY": voiced(270, 2290, 3010), "IH": voiced(390, 1990, 2550), "EH": voiced(530, 1840, 2480),
    "AE": voiced(660, 1720, 2410), "AA": voiced(730, 1090, 2440), "AO": voiced(570, 840, 2410),
    "UH": voiced(440, 1020, 2240), "UW": voiced(300, 870, 2240), "AH": voiced(640, 1190, 2390),
    "ER": voiced(490, 1350, 1690),
}
CONSONANTS = {
    "P": stop(300, 1100, 2150, 900), "B": voiced_stop(200, 1100, 2150, 900),
    "T": stop(300, 1600, 2600, 4200), "D": voiced_stop(200, 1600, 2600, 4200),
    "K": stop(300, 1990, 2850, 2000), "G": voiced_stop(200, 1990, 2850, 2000),
    "S": fricative(320, 1390, 2530, 5500, -6), "Z": fricative(240, 1390, 2530, 5500, -14, voice_db=-10),
    "SH": fricative(300, 1840, 2750, 3000, -3), "F": fricative(340, 1100, 2080, 6000, -16),
    "M": voiced(290, 1270, 2130, -7, 0.065), "N": voiced(290, 1340, 2470, -7, 0.065),
    "W": voiced(290, 610, 2150, -4, 0.065), "L": voiced(310, 1050, 2880, -4, 0.065),
    "R": voiced(310, 1060, 1380, -4, 0.065), "Y": voiced(260, 2070, 3020, -4, 0.065),
}
# fmt: on
PAUSE = Sound(500, 1500, 2500, OFF_DB, OFF_DB, OFF_DB, 4000, 0.15)
HIGHER_FORMANTS = np.array([3500.0, 4500.0, 5500.0, 6500.0])


class Manner(NamedTuple):
    """How an utterance is spoken, relative to a plain voice; logarithms are of ratios."""

    pitch: float  # semitones
    span: float  # size of the pitch accents, octaves
    slope: float  # semitones per second
    rate: float  # sounds per second, octaves
    tilt: float  # glottal corner Fa, octaves
    breath: float  # aspiration, dB
    opening: float  # first formant, natural logarithm
    smile: float  # all formants, natural logarithm
    rough: float  # jitter and shimmer, octaves
    pauses: float  # probability after a syllable


# fmt: off
CUES = {  #           pitch   span  slope   rate   tilt breath opening smile  rough pauses
    "neutral": Manner( 0.0,   0.0,   0.0,   0.0,   0.0,   0.0,   0.0,   0.0,   0.0,  0.0),
    "happy":   Manner( 8.2,   1.3,   2.8,   0.36,  1.1,  -1.0,   0.10,  0.07,  0.0,  0.0),
    "angry":   Manner( 6.6,   0.7,  -1.0,   0.36,  2.5,  -6.0,   0.28,  0.0,   2.4,  0.0),
    "sad":     Manner(-2.9,  -1.4,  -2.0,  -0.6,  -2.0,   7.0,  -0.14, -0.04,  0.0,  0.2),
}
# Standard deviations: of the speakers' own offsets; then over one speaker's utterances of one emotion.
HABIT =        Manner( 1.1,   0.15,  0.6,   0.07,  0.22,  1.4,   0.016, 0.006, 0.3,  0.016)
SPREAD =       Manner( 0.9,   0.18,  1.1,   0.08,  0.25,  1.4,   0.027, 0.007, 0.4,  0.03)
# fmt: on
# How far a speaker uses each cue is 1 +- 0.2; how far an utterance uses all of them, within these bounds.
EXPRESSION_SPREAD = 0.2
INTENSITIES = (0.8, 1.2)


@dataclass(frozen=True)
class Voice:
    """A speaker and the place of recording."""

    pitch_hz: float  # f0 of plain speech
    tract: float  # formants relative to a man's
    habit: Floats  # (10,) own offset of each field of Manner
    expression: Floats  # (10,) how far each cue is used; 1 is typical
    room: Floats  # (samples,) impulse response from mouth to microphone
    snr_db: float  # speech over room noise
    gain_db: float  # root mean square of the recordings relative to full scale


def draw_voice(female: bool, rng: Generator) -> Voice:
    """Draw a speaker: men near 115 Hz, women near 205 Hz with formants 16% higher."""
    decay_samples = rng.uniform(0.10, 0.35) * SAMPLE_RATE
    room = rng.standard_normal(int(decay_samples)) * 1000.0 ** (
        -np.arange(int(decay_samples)) / decay_samples
    )
    room *= 10 ** (rng.uniform(-24, -12) / 20) / np.sqrt(np.sum(room**2))
    room[0] = 1.0
    return Voice(
        pitch_hz=205.0 if female else 115.0,
        tract=(1.16 if female else 1.0) * float(np.exp(0.035 * rng.standard_normal())),
        habit=np.array(HABIT) * rng.standard_normal(len(HABIT)),
        expression=np.clip(1 + EXPRESSION_SPREAD * rng.standard_normal(len(HABIT)), 0.2, 1.8),
        room=room,
        snr_db=rng.uniform(32, 48),
        gain_db=rng.uniform(-30, -22),
    )


def draw_manner(who: Voice, emotion: str, rng: Generator) -> Manner:
    """Draw how this speaker says one utterance: habit + intensity * expression * cue + spread."""
    cue = rng.uniform(*INTENSITIES) * who.expression * np.array(CUES[emotion])
    return Manner(*(who.habit + cue + np.array(SPREAD) * rng.standard_normal(len(cue))))


def smooth(track: Floats, seconds: float) -> Floats:
    """Average a track under a Hann window of this length: movement takes time (coarticulation)."""
    half = round(seconds * TRACK_RATE / 2)
    window = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(np.pad(track, half, mode="edge"), window / window.sum(), mode="valid")


def babble(how: Manner, rng: Generator) -> tuple[dict[str, Floats], Floats]:
    """Draw 4 to 9 syllables: the tracks (steps,) of each field of `Sound`, and of the accent in [-0.6, 1]."""
    parts: list[tuple[Sound, float, float]] = [(PAUSE, rng.uniform(0.05, 0.12), 0.0)]
    consonants, vowels = list(CONSONANTS.values()), list(VOWELS.values())
    count = int(rng.integers(4, 10))
    for i in range(count):
        accent = rng.uniform(0.2, 1.0) if i % 2 == 0 else rng.uniform(-0.6, -0.1)
        onset = consonants[rng.integers(len(consonants))] if rng.random() < 0.9 else ()
        coda = consonants[rng.integers(len(consonants))] if rng.random() < 0.25 else ()
        stretch = np.exp(0.15 * rng.standard_normal()) * (1.15 if accent > 0 else 0.85) / 2.0**how.rate
        stretch *= 1.35 if i == count - 1 else 1.0
        nucleus = vowels[rng.integers(len(vowels))]
        parts += [(sound, sound.seconds * stretch, accent) for sound in (*onset, *nucleus, *coda)]
        if i < count - 1 and rng.random() < 0.06 + how.pauses:
            parts.append((PAUSE, rng.uniform(0.08, 0.25), 0.0))
    parts.append((PAUSE, rng.uniform(0.06, 0.15), 0.0))
    sounds, seconds, accents = (np.array(column) for column in zip(*parts, strict=True))
    seconds *= np.clip(seconds.sum(), SHORTEST_SECONDS, LONGEST_SECONDS) / seconds.sum()
    steps = np.diff(np.round(np.cumsum(seconds) * TRACK_RATE).astype(int), prepend=0)
    tracks = np.repeat(sounds, steps, axis=0).T
    return dict(zip(Sound._fields, tracks, strict=True)), np.repeat(accents, steps)


def pulse_train(f0: Floats, gain: Floats, jitter: float, rng: Generator) -> Floats:
    """P: one windowed sinc per period; f0 in Hz and gain, (samples,) -> (samples,)."""
    phase = np.cumsum(f0) / SAMPLE_RATE
    samples = np.arange(len(f0))
    at = np.interp(np.arange(1, int(phase[-1]) + 1), phase, samples)
    heights = np.interp(at, samples, gain) * (1 + 3 * jitter * rng.standard_normal(len(at)))
    at += jitter * SAMPLE_RATE / np.interp(at, samples, f0) * rng.standard_normal(len(at))
    taps = np.floor(at).astype(int)[:, None] + np.arange(-7, 9)
    away = taps - at[:, None]
    weights = heights[:, None] * np.sinc(away) * np.cos(np.pi * away / 18) ** 2
    inside = (taps >= 0) & (taps < len(f0))
    return np.bincount(taps[inside], weights[inside], minlength=len(f0)).astype(np.float64)


def tract_response(formants: Floats) -> Complexes:
    """V: (frames, formants) in Hz -> (frames, bins), with bandwidths that grow with frequency."""
    bandwidths = 45 + 0.03 * formants + 0.08 * np.maximum(formants - 4000, 0)
    c = -np.exp(-2 * np.pi * bandwidths / SAMPLE_RATE)
    b = 2 * np.sqrt(-c) * np.cos(2 * np.pi * formants / SAMPLE_RATE)
    polynomial = np.zeros((len(formants), 1 + 2 * formants.shape[1]))
    polynomial[:, 0] = 1.0
    for k in range(formants.shape[1]):
        before = polynomial.copy()
        polynomial[:, 1:] -= b[:, k, None] * before[:, :-1]
        polynomial[:, 2:] -= c[:, k, None] * before[:, :-2]
    response: Complexes = np.prod(1 - b - c, axis=1)[:, None] / np.fft.rfft(polynomial, FFT_SAMPLES)
    return response


def framed(waveform: Floats) -> Complexes:
    """Spectra of Hann frames: (samples,) -> (frames, bins)."""
    hann = np.hanning(WINDOW_SAMPLES + 1)[:-1]
    padded = np.pad(waveform, (HOP_SAMPLES, WINDOW_SAMPLES))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::HOP_SAMPLES]
    spectra: Complexes = np.fft.rfft(frames * hann, FFT_SAMPLES)
    return spectra


def overlap_added(spectra: Complexes, samples: int) -> Floats:
    """The inverse of `framed`, with room for each frame to ring on: (frames, bins) -> (samples,)."""
    blocks = np.fft.irfft(spectra, FFT_SAMPLES).reshape(len(spectra), -1, HOP_SAMPLES)
    total = np.zeros((len(spectra) + blocks.shape[1], HOP_SAMPLES))
    for k in range(blocks.shape[1]):
        total[k : k + len(spectra)] += blocks[:, k]
    return total.ravel()[HOP_SAMPLES : HOP_SAMPLES + samples]


def speak(who: Voice, how: Manner, rng: Generator) -> Floats:
    """Babble one utterance at the lips, in arbitrary units: (samples,)."""
    tracks, accents = babble(how, rng)
    steps = np.arange(len(accents))
    times = np.arange(len(steps) * SAMPLE_RATE // TRACK_RATE) * TRACK_RATE / SAMPLE_RATE
    stress = smooth(accents, 0.14)
    gains = {name: 10 ** (smooth(tracks[name], 0.012) / 20) for name in ("voice_db", "breath_db", "noise_db")}
    breath, noise = (np.interp(times, steps, gains[name]) for name in ("breath_db", "noise_db"))

    declination = (how.slope - 1.0) * (steps - steps.mean()) / TRACK_RATE
    wander = smooth(rng.standard_normal(len(steps)), 0.05)
    semitones = how.pitch + 2.2 * 2.0**how.span * stress + declination + wander
    f0 = np.clip(who.pitch_hz * 2 ** (semitones / 12), 60, 600)
    voice = np.interp(times, steps, gains["voice_db"] * 10 ** (0.12 * stress))
    pulses = framed(pulse_train(np.interp(times, steps, f0), voice, 0.006 * 2.0**how.rough, rng))
    aspiration = framed(10 ** ((ASPIRATION_DB + how.breath) / 20) * breath * rng.standard_normal(len(times)))
    frication = framed(10 ** (FRICATION_DB / 20) * noise * rng.standard_normal(len(times)))

    at = np.minimum(np.arange(len(pulses)) * (HOP_SAMPLES * TRACK_RATE // SAMPLE_RATE), steps[-1])
    f = np.fft.rfftfreq(FFT_SAMPLES, 1 / SAMPLE_RATE)
    fg = 0.9 * f0[at, None]
    fa = 1400 * 2.0 ** (how.tilt + 0.25 * stress[at, None])
    glottis = 1j * f * fg / (fg**2 - f**2 + 1j * f * fg) / (1 + 1j * f / fa)
    lower = np.stack([smooth(tracks[name], 0.07)[at] for name in ("f1", "f2", "f3")], axis=1)
    lower[:, 0] *= np.exp(how.opening)
    formants = np.hstack([lower, np.tile(HIGHER_FORMANTS, (len(at), 1))]) * who.tract * np.exp(how.smile)
    peak = smooth(tracks["noise_hz"], 0.012)[at, None] * np.sqrt(who.tract)
    hiss = 1 / (1 + ((f - peak) / (250 + 0.2 * peak)) ** 2)
    spectra = (pulses * glottis + aspiration) * tract_response(formants) + frication * hiss
    return overlap_added(spectra, len(times))


def record(who: Voice, speech: Floats, rng: Generator) -> Floats:
    """Put speech in the speaker's room: echo, noise, and a gain that tells nothing of the emotion."""
    size = 1 << (len(speech) + len(who.room)).bit_length()
    echoed = np.fft.irfft(np.fft.rfft(speech, size) * np.fft.rfft(who.room, size), size)[: len(speech)]
    f = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    hum = np.fft.irfft(np.fft.rfft(rng.standard_normal(size)) / (1 + f / 300), size)[: len(speech)]
    snr_db = who.snr_db + 2 * rng.standard_normal()
    waveform: Floats = echoed / echoed.std() + 10 ** (-snr_db / 20) * hum / hum.std()
    waveform *= 10 ** ((who.gain_db + 2.5 * rng.standard_normal()) / 20)
    return waveform * min(1.0, 0.95 / float(np.abs(waveform).max()))


def utterance(speaker: int, emotion: str, index: int, seed: int = 0) -> NDArray[np.float32]:
    """One utterance, a function of its arguments alone.

    Args:
        speaker: 1 or more; odd numbers are women.
        emotion: one of `EMOTIONS`.
        index: 0 or more.
        seed: 0 or more; another seed gives other speakers.

    Returns:
        (samples,) in [-1, 1] at 16 kHz, 0.8 to 3 s.

    Raises:
        CorpusError: there is no such emotion.

    Example:
        >>> bool((utterance(1, "sad", 1) == utterance(1, "sad", 1)).all())
        True
    """
    if emotion not in EMOTIONS:
        hint = did_you_mean(emotion, EMOTIONS) or "."
        raise CorpusError(f"the demo corpus has no {emotion!r}{hint} Known: {', '.join(EMOTIONS)}")
    who = draw_voice(speaker % 2 == 1, default_rng(SeedSequence(seed, spawn_key=(speaker,))))
    rng = default_rng(SeedSequence(seed, spawn_key=(speaker, EMOTIONS.index(emotion), index)))
    return record(who, speak(who, draw_manner(who, emotion, rng), rng), rng).astype(np.float32)


def synthesise(
    root: Path,
    seed: int = 0,
    speakers: int = SPEAKERS,
    per_class: int = PER_CLASS,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the corpus as `root/S01_happy_03.flac`: 16 kHz, 16 bits, mono.

    Each file depends on the seed and its own name alone: a rerun after an interruption, or a larger corpus
    of the same seed, gives the same bits. A file that holds them already is not touched.

    Args:
        root: the folder, made where it is missing.
        seed: 0 or more; another seed gives other speakers.
        speakers: 1 to 99; odd numbers are women.
        per_class: utterances of each speaker and emotion, 1 to 99.
        progress: called with the number of files done and of all.

    Returns:
        The number of files.

    Raises:
        CorpusError: a number is out of range.
    """
    for name, number, least in (("seed", seed, 0), ("speakers", speakers, 1), ("per_class", per_class, 1)):
        if number < least or (name != "seed" and number > 99):
            raise CorpusError(
                f"{name} is {number}: choose {least} {'or more' if name == 'seed' else 'to 99'}"
            )
    root.mkdir(parents=True, exist_ok=True)
    plan = list(product(range(1, speakers + 1), EMOTIONS, range(1, per_class + 1)))
    for done, (speaker, emotion, index) in enumerate(plan, start=1):
        file = root / f"S{speaker:02}_{emotion}_{index:02}.flac"
        content = io.BytesIO()
        soundfile.write(
            content, utterance(speaker, emotion, index, seed), SAMPLE_RATE, "PCM_16", format="FLAC"
        )
        if not file.is_file() or file.read_bytes() != content.getvalue():
            write_bytes(file, content.getvalue())
        if progress is not None:
            progress(done, len(plan))
    return len(plan)


def read(root: Path) -> list[Utterance]:
    """Read every recording under `root` that has the name of a demo recording."""
    return [
        Utterance(
            id=f"demo/{stem}",
            corpus="demo",
            file=file,
            speaker=part["speaker"],
            emotion=part["emotion"],
            label=part["emotion"],
            sex="f" if int(part["speaker"][1:]) % 2 else "m",
        )
        for file, stem, part in scan(root, NAME)
    ]


CORPUS = Corpus(
    name="demo",
    title="the emospec demo corpus",
    licence="none needed: synthetic",
    citation="emospec: babble by source-filter synthesis, no human speech",
    source="emospec demo",
    language="",
    protocol="groups:5",
    speech="synthetic",
    layout="S01_happy_03.flac",
    read=read,
    expected=SPEAKERS * len(EMOTIONS) * PER_CLASS,
    classes=dict.fromkeys(EMOTIONS, SPEAKERS * PER_CLASS),
    speakers={f"S{speaker:02}": len(EMOTIONS) * PER_CLASS for speaker in range(1, SPEAKERS + 1)},
    note="Synthetic: its scores say that the machinery works, and nothing about human speech.",
)

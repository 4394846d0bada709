"""Recordings as Python code passes them: each kind is taken, or raises an error of one line."""

import array
import copy
import io
import multiprocessing
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from conftest import tone
from emospec.audio.samples import as_samples, from_samples
from emospec.errors import AudioError
from emospec.inference.prediction import Failure, Prediction
from emospec.inference.recognizer import Recognizer
from emospec.inference.recordings import RecordingReader

RATE = 16_000
SOUND = tone(300, 1.0)
INT16 = np.round(SOUND * 32767).astype(np.int16)
EAR = RecordingReader(1400, 20.0)


def wav_of(samples: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


class Tensor:
    """As torch's: NumPy takes it only without gradients, from the processor, and of a type that it has."""

    def __init__(self, values: NDArray[Any], dtype: str = "torch.float32", grad: bool = True) -> None:
        self.values, self.dtype, self.grad = values, dtype, grad
        self.shape = values.shape

    def detach(self) -> "Tensor":
        return Tensor(self.values, self.dtype, grad=False)

    def cpu(self) -> "Tensor":
        return self

    def float(self) -> "Tensor":
        return Tensor(self.values, grad=self.grad)

    def __array__(self, *_: object, **__: object) -> NDArray[Any]:
        if self.grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        if self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values


TAKEN: dict[str, Any] = {
    "float64": SOUND.astype(np.float64),
    "float16": SOUND.astype(np.float16),
    "long double": SOUND.astype(np.longdouble),
    "big-endian": SOUND.astype(">f4"),
    "int16": INT16,
    "big-endian int16": INT16.astype(">i2"),
    "int8": np.round(SOUND * 127).astype(np.int8),
    "int32": INT16.astype(np.int32) << 16,
    "uint8": np.round(SOUND * 127 + 128).astype(np.uint8),
    "uint16": (INT16.astype(np.int32) + 32768).astype(np.uint16),
    "one row": SOUND[None],
    "two rows": np.stack([SOUND, SOUND]),
    "one column": SOUND[:, None],
    "two columns": np.stack([SOUND, SOUND], axis=1),
    "reversed": SOUND[::-1][::-1],
    "unmasked": np.ma.masked_array(SOUND, False),
    "tensor": Tensor(SOUND),
    "bfloat16": Tensor(SOUND, "torch.bfloat16"),
    "rows of a tensor": Tensor(SOUND[None]),
    "a list in a dict": {"array": SOUND.tolist(), "sampling_rate": RATE},
    "array": array.array("f", SOUND.tolist()),
    "floats of a memoryview": memoryview(SOUND),
}


@pytest.mark.parametrize("samples", TAKEN.values(), ids=list(TAKEN))
def test_samples_of_these_kinds_are_the_same_sound(samples: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        waveform = EAR.read(samples, RATE).waveform
    assert waveform.dtype == np.float32
    np.testing.assert_allclose(waveform, SOUND, atol=0.009)


def test_a_timeline_takes_samples_listed_in_a_dict(recognizer: Recognizer) -> None:
    recording = {"array": SOUND.tolist(), "sampling_rate": RATE}
    assert recognizer.timeline(recording) == recognizer.timeline(SOUND, RATE)


def test_integers_are_divided_by_their_full_scale() -> None:
    for kind in (np.int8, np.int16, np.int32):
        lowest = np.iinfo(kind).min
        np.testing.assert_array_equal(
            as_samples(np.array([lowest, 0, -(lowest // 2)], kind)), [-1.0, 0.0, 0.5]
        )
    for unsigned in (np.uint8, np.uint16, np.uint32):
        half = np.iinfo(unsigned).max // 2 + 1
        np.testing.assert_array_equal(
            as_samples(np.array([0, half, half + half // 2], unsigned)), [-1.0, 0.0, 0.5]
        )


ODD = np.array([0, 0.1, np.inf])
REFUSED: dict[str, tuple[Any, str]] = {
    "float16 infinity": (ODD.astype(np.float16), "NaN, infinite or beyond"),
    "float16 nan": (np.full(9, np.nan, np.float16), "NaN, infinite or beyond"),
    "beyond float32": (np.array([1e300, 0.0]), "NaN, infinite or beyond"),
    "int64": (INT16.astype(np.int64), "int64, allowed are floats.*Convert 16-bit values to int16"),
    "uint64": (INT16.astype(np.uint64), "uint64, allowed"),
    "16 bits in int32": (INT16.astype(np.int32), "int32, and all fit into 16 bits"),
    "bool": (SOUND > 0, "bool, allowed"),
    "complex": (SOUND.astype(np.complex64), "complex64, allowed"),
    "objects": (SOUND.astype(object), "object, allowed"),
    "names": (np.array(["a.wav", "b.wav"]), "given as a list"),
    "masked": (np.ma.masked_array(SOUND, SOUND > 0.2), "masked"),
    "no dimension": (np.array(1.0), r"shape \(\)"),
    "three dimensions": (SOUND[None, None], r"shape \(1, 1, 16000\)"),
    "a batch": (np.stack([SOUND] * 8), r"shape \(8, 16000\).*given as a list"),
    "empty": (SOUND[:0], "no samples"),
    "scalar": (np.float32(0.5), "float32 is no kind of recording"),
    "None": (None, "NoneType is no kind of recording"),
    "number": (7, "int is no kind of recording"),
    "a generator": (iter([SOUND]), "is no kind of recording"),
    "empty dict": ({}, "a dict with nothing"),
    "another dict": ({"audio": SOUND}, "a dict with 'audio'"),
    "another rate": ({"array": SOUND, "sampling_rate": 8000}, "says 8000 Hz, and sample_rate is 16000"),
    "text": (io.StringIO("a"), "mode 'rb'"),
    "empty name": ("", "^'': is a folder"),
    "a ragged list": ({"array": [[0.1], [0.1, 0.2]], "sampling_rate": RATE}, "that NumPy cannot take"),
    "a list of integers": ({"array": [1, 2], "sampling_rate": RATE}, "int64, allowed are floats"),
}


@pytest.mark.parametrize(("recording", "words"), REFUSED.values(), ids=list(REFUSED))
def test_a_value_that_is_no_recording_raises_one_line(recording: Any, words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AudioError, match=words) as caught:
            EAR.read(recording, RATE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [16_000.5, "16000", None, float("nan"), 0, True, np.array(16_000)])
def test_a_rate_is_a_whole_number(rate: Any) -> None:
    with pytest.raises(AudioError, match=r"sample rate|sample_rate"):
        EAR.read(SOUND, rate)
    assert len(from_samples(SOUND, 16_000.0)) == len(SOUND)  # type: ignore[arg-type]


def test_files_of_every_kind(tmp_path: Path) -> None:
    content, file = wav_of(SOUND), tmp_path / "a.wav"
    file.write_bytes(content)
    written = io.BytesIO()
    soundfile.write(written, SOUND, RATE, format="WAV", subtype="FLOAT")  # and stands at its end
    named = [file, str(file), {"path": str(file), "bytes": None}, {"path": str(file), "bytes": content}]
    named += [{"path": str(file), "array": SOUND, "sampling_rate": RATE}]
    nameless = [content, bytearray(content), memoryview(content), written, {"bytes": content, "path": None}]
    with file.open("rb") as opened:
        for recording, name in [
            *((one, str(file)) for one in (*named, opened)),
            *((one, "recording") for one in nameless),
        ]:
            heard = EAR.read(recording)
            np.testing.assert_array_equal(heard.waveform, SOUND)
            assert heard.name == name
    with pytest.raises(AudioError, match="cannot be read"):
        EAR.read(opened)


@pytest.mark.parametrize("name", ["int16", "float16", "int32", "uint8", "one row", "two rows", "tensor"])
def test_a_stream_takes_what_predict_takes(recognizer: Recognizer, name: str) -> None:
    stream, plain = recognizer.stream(RATE), recognizer.stream(RATE)
    for _ in range(3):
        moments, expected = stream.push(TAKEN[name]), plain.push(SOUND)
    assert [m.start_seconds for m in moments] == [m.start_seconds for m in expected]
    assert stream.seconds == 3.0


def test_a_stream_raises_where_predict_does(recognizer: Recognizer) -> None:
    stream = recognizer.stream(RATE)
    for name in ("float16 infinity", "int64", "bool", "complex", "masked", "three dimensions"):
        with pytest.raises(AudioError, match=REFUSED[name][1]):
            stream.push(REFUSED[name][0])
    assert stream.seconds == 0.0
    assert stream.push(SOUND[:0]) == []


@pytest.mark.parametrize(
    "odd", [None, float("nan"), 7, [0.1, 0.2], {}, object()], ids=lambda odd: type(odd).__name__
)
def test_what_is_no_recording_is_a_failure_in_its_place(recognizer: Recognizer, odd: Any) -> None:
    first, failure, last = recognizer.predict([SOUND, odd, SOUND], RATE)
    assert isinstance(first, Prediction)
    assert isinstance(last, Prediction)
    assert isinstance(failure, Failure)
    assert "no kind of recording" in failure.error or "no recording" in failure.error
    assert np.isnan(recognizer.embed([odd, SOUND], RATE)).any(axis=1).tolist() == [True, False]


def test_a_list_of_numbers_is_no_list_of_recordings(recognizer: Recognizer) -> None:
    with pytest.raises(AudioError, match=r"numpy\.array"):
        recognizer.predict([0.1, 0.2, 0.3], RATE)


def _probability(recognizer: Recognizer) -> float:
    return recognizer.predict(SOUND, RATE).confidence


@pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_recogniser_is_pickled_by_its_folder(
    hum_model: Path, again: Callable[[Recognizer], Recognizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hum_model.parent)
    one = Recognizer(os.curdir + "/" + hum_model.name, threads=1)
    one.enroll("whistling", [tone(3000, 0.7)], RATE)
    assert len(pickle.dumps(one)) < 200_000
    monkeypatch.chdir("/")
    other = again(one)
    assert other.model.names == one.model.names
    assert other.predict(SOUND, RATE).probabilities == one.predict(SOUND, RATE).probabilities


@pytest.mark.full
def test_a_recogniser_goes_to_another_process(recognizer: Recognizer) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_probability, (recognizer,)) == pytest.approx(_probability(recognizer))


def test_a_prediction_is_printed_in_one_line(recognizer: Recognizer) -> None:
    said = recognizer.predict(SOUND, RATE)
    for text in (str(said), repr(said)):
        assert "\n" not in text
        assert len(text) < 600
        assert str(said.emotion) in text
    assert "z" not in repr(said).split("(")[1].split("=")
    assert str(Failure("a.wav", "a.wav: is empty")) == "a.wav: is empty"


def test_the_default_model_is_the_bundled_one() -> None:
    import emospec

    assert emospec.Recognizer(threads=1).model.folder.name == "base"
    assert emospec.Timing().check_speech

"""Real recordings, where the shared corpora are beside the project."""

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import SHARED
from emospec.audio.reader import read_audio
from emospec.config import load_settings
from emospec.data.corpora import read_corpus
from emospec.data.pack import Pack, prepare
from emospec.errors import ProtocolError
from emospec.evaluation.metrics import confusion_matrix, unweighted_accuracy
from emospec.experiments.run import train
from emospec.experiments.spec import open_pack, split_of
from emospec.inference.recognizer import Recognizer
from emospec.learning.frame_store import FrameStore
from emospec.learning.learner import Learner

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not SHARED.exists(), reason="the shared corpora are not beside the project"),
]


@pytest.fixture(scope="module")
def emodb(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return prepare(read_corpus("emodb", SHARED / "emodb"), tmp_path_factory.mktemp("emodb") / "pack")[0]


def test_a_pack_holds_the_waveforms_of_prediction(emodb: Pack) -> None:
    for i in range(0, len(emodb), 50):
        np.testing.assert_array_equal(emodb.waveform(i), read_audio(emodb.utterances[i].file))


def test_a_trained_model_is_batch_invariant_on_real_speech(emodb: Pack, tmp_path: Path) -> None:
    short = ["training.steps=60", "training.select_after=10", "data.protocol=groups:5"]
    run = train(emodb.folder, tmp_path / "run", "dai2019-mel", short)
    assert run.scores.test.ua > 1 / 7
    learner = Learner.load(tmp_path / "run" / "model").eval()
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(emodb), 12, replace=False)
    waveforms = [torch.from_numpy(emodb.waveform(i)) for i in chosen] + [
        torch.from_numpy(emodb.waveform(0))[:1600]
    ]
    waveforms.append(torch.cat([torch.from_numpy(emodb.waveform(i)) for i in range(12)])[: 30 * 16_000])
    batch = torch.full((len(waveforms), max(map(len, waveforms)) + 999), float("nan"))
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    z, probabilities = learner.forward_waveforms(batch, torch.tensor([len(w) for w in waveforms]))
    for k, waveform in enumerate(waveforms):
        own_z, own_probabilities = learner.forward_waveforms(waveform[None], torch.tensor([len(waveform)]))
        assert (z[k] - own_z[0]).abs().max() <= 1e-5 * max(1.0, float(own_z.abs().max()))
        assert (probabilities[k] - own_probabilities[0]).abs().max() <= 1e-5
    stored = learner.forward_utterances(FrameStore(emodb, learner.frontend), chosen.tolist())
    np.testing.assert_allclose(stored.probabilities, probabilities[:12].numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("corpus", "protocol", "folds"),
    [
        ("emodb", "one-speaker-out", 10),
        ("ravdess", "folds", 6),
        ("nemo", "one-speaker-out", 9),
        ("crema_d", "groups:5", 5),
    ],
)
def test_the_default_split_of_each_corpus_keeps_speakers_apart(
    corpus: str, protocol: str, folds: int
) -> None:
    utterances = read_corpus(corpus, SHARED / corpus)
    split = split_of(utterances, load_settings("dai2019-mel"), 0, 0)
    assert (split.protocol, len(split.folds), split.speaker_overlap) == (protocol, folds, False)
    tested = sorted(i for fold in split.folds for i in fold.test)
    assert tested == list(range(len(utterances)))


def test_a_class_of_one_utterance_is_refused_by_name() -> None:
    utterances = read_corpus("crema_d", SHARED / "crema_d")
    fearful = next(u for u in utterances if u.emotion == "fearful")
    alone = [u for u in utterances if u.emotion != "fearful" or u is fearful]
    with pytest.raises(ProtocolError, match=r"no training sample of fearful\. Leave the class out"):
        split_of(alone, load_settings("dai2019-mel"), 0, 0)


def test_default_classes_are_all_of_emodb(emodb: Pack) -> None:
    _, utterances, classes = open_pack(emodb.folder, load_settings("dai2019-mel"))
    assert len(utterances) == 535
    assert classes == ("neutral", "angry", "happy", "sad", "fearful", "disgusted", "bored")


def test_the_bundled_model_knows_its_training_corpus(emodb: Pack) -> None:
    """Front end, graph and weights still agree: on recordings most of which trained it, it is far above chance."""
    recognizer = Recognizer("base")
    names = recognizer.model.names
    utterances = [u for u in emodb.utterances if u.emotion in names]
    predicted = [result.emotion for result in recognizer.predict([u.file for u in utterances])]
    targets, guesses = (
        np.array([names.index(word) for word in words])
        for words in ([u.emotion for u in utterances], predicted)
    )
    assert unweighted_accuracy(confusion_matrix(targets, guesses, len(names))) > 0.75

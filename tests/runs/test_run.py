"""One run: what its files say of protocol and audit, and a leak planted in the training itself."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import emospec
from conftest import SHORT
from emospec.cli import run_command_line
from emospec.data.corpora import read_corpus
from emospec.data.corpora.user import UserCorpus
from emospec.data.pack import Pack, prepare
from emospec.data.utterances import Utterance
from emospec.errors import ConfigError, ProtocolError, RunError, TrainingError
from emospec.experiments import spec as job
from emospec.experiments.results import predict_pack
from emospec.files import folder_lock
from emospec.learning import training
from emospec.learning.learner import load_tensors, save_tensors
from emospec.report.words import percent_sign
from emospec.runs.provenance import commit
from emospec.runs.record import RunRecord, read_run

CHECKS = [
    "speakers",
    "duplicates",
    "near-duplicates",
    "standardiser",
    "selection",
    "sentences",
    "duplicates inside a set",
]
Make = Callable[[Path], list[Utterance]]


@pytest.fixture(scope="module")
def honest(hum_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return emospec.train(
        hum_pack.folder, tmp_path_factory.mktemp("run") / "r", "dai2019-mel", SHORT, strict=True
    )


def verdicts(run: RunRecord) -> dict[str, str]:
    return {finding.check: finding.verdict for finding in run.meta.audit.findings}


def test_an_honest_run_proves_it(honest: RunRecord) -> None:
    assert list(verdicts(honest)) == CHECKS
    # Hums are too short and steady to tell copies from one another by fingerprint.
    assert verdicts(honest)["near-duplicates"] in ("pass", "not applicable")
    assert {verdicts(honest)[check] for check in CHECKS[:5] if check != "near-duplicates"} == {"pass"}
    assert honest.scores.audit == "audit: no leak"
    words = {finding.check: finding.words for finding in honest.meta.audit.findings}
    assert words["standardiser"].startswith("fitted on the 12 training utterances and no other")
    assert words["selection"].startswith("made on the 12 dev utterances and no other")


def test_protocol_and_hash_go_with_every_number(honest: RunRecord) -> None:
    protocol = honest.meta.protocol
    assert (protocol.name, len(protocol.hash)) == ("groups:3", 64)
    assert honest.scores.protocol == protocol
    table = honest.predictions()
    assert set(table["protocol"]) == {"groups:3"}
    assert set(table["folds_sha256"]) == {protocol.hash}
    state = json.loads(load_tensors(honest.folder / "checkpoint" / "state.safetensors")[1]["state"])
    assert state["protocol"] == protocol.to_dict()
    assert json.loads((honest.folder / "model" / "config.json").read_text())["protocol"] == protocol.to_dict()
    card = (honest.folder / "model" / "README.md").read_text(encoding="utf-8")
    assert f"sha256 {protocol.hash}" in card
    assert (
        f"| groups:3, fold 1 of 3, repeat 0, speaker-independent | {percent_sign(honest.scores.test.ua)} "
        in card
    )
    assert "Audit: no leak" in card
    assert honest.meta.command.endswith(", strict=True)")


def test_selection_on_test_is_found(hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest_task = job.TrainingTask
    whole = emospec.train(hum_pack.folder, tmp_path / "whole", "dai2019-mel", SHORT)
    test = whole.predictions().query("part == 'test'")["utterance"]
    places = [i for i, u in enumerate(hum_pack.utterances) if u.id in set(test)]
    monkeypatch.setattr(job, "TrainingTask", lambda **facts: honest_task(**{**facts, "dev": places}))
    run = emospec.train(hum_pack.folder, tmp_path / "leaky", "dai2019-mel", SHORT)
    assert verdicts(run)["selection"] == "fail"
    assert "made on the utterances of test, not on the 12 dev utterances alone" in run.scores.audit
    with pytest.raises(
        ProtocolError, match=r"selection: made on .*Choose another split, or train without --strict"
    ):
        emospec.train(hum_pack.folder, tmp_path / "strict", "dai2019-mel", SHORT, strict=True)
    assert not (tmp_path / "strict" / "scores.json").exists()


def test_a_standardiser_fitted_on_all_is_found(
    hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_frames(self: training.Trainer) -> Iterator[object]:
        for index in range(len(hum_pack)):
            self.state.fitted_on.append(index)
            yield self.store.frames(index)

    monkeypatch.setattr(training.Trainer, "_frames_to_fit", all_frames)
    run = emospec.train(hum_pack.folder, tmp_path / "leaky", "dai2019-mel", SHORT)
    assert verdicts(run)["standardiser"] == "fail"
    assert "fitted on the utterances of all" in run.scores.audit


@pytest.mark.full
def test_after_a_resume_the_proof_is_of_the_statistics_in_use(hum_pack: Pack, tmp_path: Path) -> None:
    settings = [*SHORT, "training.checkpoint_seconds=0"]
    run = emospec.train(hum_pack.folder, tmp_path / "r", "dai2019-mel", settings)
    state = run.folder / "checkpoint" / "state.safetensors"
    tensors, metadata = load_tensors(state)
    about = json.loads(metadata["state"])
    # As if an earlier version had fitted on all: what is resumed is its mean and deviation.
    save_tensors(state, tensors, {"state": json.dumps(about | {"fitted_on": list(range(len(hum_pack)))})})
    (run.folder / "scores.json").unlink()
    resumed = emospec.train(hum_pack.folder, tmp_path / "r", "dai2019-mel", settings, resume=True)
    assert verdicts(resumed)["standardiser"] == "fail"
    assert verdicts(resumed)["selection"] == "pass"


def test_a_leak_travels_and_strict_refuses_it(
    make_utterances: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    utterances = make_utterances(tmp_path / "audio")
    samples, rate = soundfile.read(utterances[0].file)
    # The same samples under the name of a speaker of another group.
    for u in utterances:
        if u.speaker == "s5" and u.emotion == utterances[0].emotion:
            soundfile.write(u.file, samples, rate)
            break
    pack, _ = prepare(utterances, tmp_path / "pack")
    runs = emospec.crossval(pack.folder, tmp_path / "runs", "dai2019-mel", SHORT, jobs=1)
    assert all(verdicts(run)["duplicates"] == "fail" for run in runs)
    assert "hum/s0_angry_0" in runs[0].scores.audit
    card = (runs[0].folder / "model" / "README.md").read_text(encoding="utf-8")
    assert "Audit: 1 leak: duplicates: the same samples in two sets" in card
    with pytest.raises(ProtocolError, match="audit: 1 leak: duplicates"):
        emospec.crossval(pack.folder, tmp_path / "strict", "dai2019-mel", SHORT, jobs=1, strict=True)
    assert not list((tmp_path / "strict").rglob("history.csv"))
    with pytest.raises(ProtocolError, match="audit: 1 leak"):
        emospec.train(
            pack.folder, tmp_path / "runs" / "r0-f1", "dai2019-mel", SHORT, resume=True, strict=True
        )


def test_speaker_dependent_runs_say_so(hum_pack: Pack, tmp_path: Path) -> None:
    settings = [*SHORT, "data.protocol=dai2019"]
    run = emospec.train(hum_pack.folder, tmp_path / "r", "dai2019-mel", settings)
    assert verdicts(run)["speakers"] == "fail"
    assert "speaker-dependent, by design of dai2019" in run.scores.audit
    assert run.meta.audit.leaks[0].check == "speakers"


def test_known_utterances_are_those_that_made_the_model(honest: RunRecord) -> None:
    folds = pd.read_csv(honest.folder / "folds.csv").query("fold == 1")
    known = honest.known_utterances()
    assert set(known.values()) == {"train", "dev"}
    assert np.array_equal(sorted(known), sorted(folds.query("part != 'test'")["utterance"]))


def test_weights_of_a_run_that_knew_no_test_speaker_may_be_taken_over(
    hum_pack: Pack, honest: RunRecord, tmp_path: Path
) -> None:
    more = [*SHORT, f"training.start_from={honest.folder}", "training.learning_rate=1e-9"]
    run = emospec.train(hum_pack.folder, tmp_path / "next", "dai2019-mel", more, strict=True)
    assert verdicts(run)["start"] == "pass"
    theirs, own = (load_tensors(r.folder / "model" / "model.safetensors")[0] for r in (honest, run))
    for name in ("network.fc1.weight", "network.convolutions.0.weight"):
        np.testing.assert_allclose(own[name], theirs[name], atol=1e-6)
    assert not np.allclose(own["network.fc2.weight"], theirs["network.fc2.weight"], atol=1e-3)


@pytest.mark.full
def test_a_start_that_knew_test_is_a_leak_also_at_second_hand(
    hum_pack: Pack, honest: RunRecord, tmp_path: Path
) -> None:
    more = [*SHORT, f"training.start_from={honest.folder}"]
    with pytest.raises(ProtocolError, match="from which the weights come, was made with 12 of 12 test"):
        emospec.train(hum_pack.folder, tmp_path / "strict", "dai2019-mel", more, fold=2, strict=True)
    second = emospec.train(hum_pack.folder, tmp_path / "second", "dai2019-mel", more, fold=2)
    assert verdicts(second)["start"] == "fail"
    assert set(second.known_utterances()) == {u.id for u in hum_pack.utterances}
    assert second.learned_from == [*second.meta.corpora]
    third = [*SHORT, f"training.start_from={second.folder}"]
    with pytest.raises(ProtocolError, match="12 of 12 test utterances"):
        emospec.train(hum_pack.folder, tmp_path / "third", "dai2019-mel", third, fold=3, strict=True)


@pytest.fixture(scope="module")
def renamed(hum_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """The same recordings as another corpus, of which nothing but the samples tells."""
    others = [replace(u, id=f"other/{k}", corpus="other") for k, u in enumerate(hum_pack.utterances)]
    return prepare(others, tmp_path_factory.mktemp("renamed") / "pack")[0]


def test_what_made_the_model_is_known_by_its_samples_under_another_name(
    honest: RunRecord, hum_pack: Pack, renamed: Pack
) -> None:
    own, other = (honest.parts_of(pack.utterances, pack) for pack in (hum_pack, renamed))
    assert own == other
    assert [own.count(part) for part in ("train", "dev", "")] == [12, 12, 12]
    test = [u.id for u, part in zip(renamed.utterances, other, strict=True) if not part]
    assert predict_pack(honest, renamed.folder).query("part == 'test'")["utterance"].tolist() == test
    earlier = honest.known.drop(columns="samples")  # as versions before wrote it
    old = RunRecord(honest.folder, honest.settings, honest.meta, honest.scores)
    old.__dict__["known"] = earlier
    assert old.parts_of(hum_pack.utterances, hum_pack) == own
    assert set(old.parts_of(renamed.utterances, renamed)) == {""}
    # An earlier run knew the same ids of other samples, or noted none: what the run's own lists say comes first.
    both = pd.concat([honest.known, honest.known.assign(part="earlier", samples=float("nan"))])
    old.__dict__["known"] = both
    assert old.known_utterances() == honest.known_utterances()
    assert old.parts_of(hum_pack.utterances, hum_pack) == own


def test_corpora_of_ones_own_are_told_apart_by_their_samples(honest: RunRecord, hum_pack: Pack) -> None:
    """Two CSVs may both have a speaker 1 and a file a.wav."""
    names = pd.Series(honest.known["utterance"])
    known = honest.known.assign(utterance="csv/" + names, samples="another")
    run = RunRecord(honest.folder, honest.settings, honest.meta, honest.scores)
    run.__dict__["known"] = known
    mine = [replace(u, id=f"csv/{u.id}", corpus="csv") for u in hum_pack.utterances]

    class Renamed(Pack):
        def samples_of(self, utterances: Sequence[Utterance]) -> list[str]:
            return ["mine"] * len(utterances)

    pack = Renamed(hum_pack.folder)
    assert set(run.parts_of(mine, pack)) == {""}
    official = [replace(u, corpus="emodb") for u in mine]  # another format of it has other samples
    assert run.parts_of(official, pack).count("") == 12


def test_a_start_that_knew_test_under_another_name_is_a_leak(
    honest: RunRecord, renamed: Pack, tmp_path: Path
) -> None:
    more = [*SHORT, f"training.start_from={honest.folder}"]
    with pytest.raises(ProtocolError, match="from which the weights come, was made with 12 of 12 test"):
        emospec.train(renamed.folder, tmp_path / "strict", "dai2019-mel", more, fold=2, strict=True)
    second = emospec.train(renamed.folder, tmp_path / "second", "dai2019-mel", more, fold=2)
    third = [*SHORT, f"training.start_from={second.folder}"]
    with pytest.raises(ProtocolError, match="12 of 12 test utterances"):
        emospec.train(renamed.folder, tmp_path / "third", "dai2019-mel", third, fold=3, strict=True)


@pytest.mark.parametrize(
    ("override", "error", "words"),
    [
        ("training.start_from=/nowhere", RunError, "is not a run folder"),
        ("loss.teacher=/nowhere.npz", ConfigError, "loss.teacher /nowhere.npz: cannot be read"),
    ],
)
def test_a_source_that_is_not_there_is_refused(
    hum_pack: Pack, tmp_path: Path, override: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        emospec.train(hum_pack.folder, tmp_path / "run", "dai2019-mel", [*SHORT, override])
    assert not (tmp_path / "run").exists()


def test_a_start_with_another_network_is_refused(hum_pack: Pack, honest: RunRecord, tmp_path: Path) -> None:
    more = [*SHORT, f"training.start_from={honest.folder}", "network.pooling=statistics"]
    with pytest.raises(
        TrainingError, match=r"the network of .* is another: network.pooling is last there, statistics here"
    ):
        emospec.train(hum_pack.folder, tmp_path / "run", "dai2019-mel", more)


def test_a_resumption_with_other_settings_touches_nothing(hum_pack: Pack, tmp_path: Path) -> None:
    out = tmp_path / "r0-f1"
    settings = [*SHORT, "training.checkpoint_seconds=0"]
    emospec.crossval(hum_pack.folder, tmp_path, "dai2019-mel", settings, jobs=1)
    others = [*settings, "training.learning_rate=2e-3"]
    for how, words in (
        ("finished run", "Name another folder"),
        ("checkpoint", "Resume with the settings of"),
    ):
        before = {file: file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file()}
        with pytest.raises(RunError, match=f"holds a {how} of other settings.* {words}"):
            emospec.train(hum_pack.folder, out, "dai2019-mel", others, resume=True)
        with pytest.raises(RunError, match="of other settings"):  # none of its folds is trained
            emospec.crossval(hum_pack.folder, tmp_path, "dai2019-mel", others, resume=True)
        assert {file: file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file()} == before
        (out / "scores.json").unlink(missing_ok=True)
    assert emospec.train(hum_pack.folder, out, "dai2019-mel", settings, resume=True).scores.test


def test_two_calls_do_not_train_one_run(
    hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emospec.experiments.run._LEAVING_SECONDS", 0.1)
    tried: list[str] = []

    def once_more(name: str, *_: object) -> None:
        if name == "run" and not tried:
            for more in ([], ["training.learning_rate=2e-3"]):  # before the first checkpoint is there too
                with pytest.raises(RunError) as caught:
                    emospec.train(
                        hum_pack.folder, tmp_path / "run", "dai2019-mel", [*SHORT, *more], resume=True
                    )
                tried.append(str(caught.value))

    run = emospec.train(hum_pack.folder, tmp_path / "run", "dai2019-mel", SHORT, progress=once_more)
    assert all("another call trains it still" in words for words in tried)
    assert len(tried) == 2
    assert run.scores.test


def test_what_another_call_made_while_this_one_waited_is_refused(
    hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    @contextmanager
    def meanwhile(*_: object) -> Iterator[None]:
        monkeypatch.setattr("emospec.experiments.run.folder_lock", folder_lock)
        emospec.train(hum_pack.folder, out, "dai2019-mel", SHORT, resume=True)
        yield

    for resume, words in ((True, "of other settings"), (False, "exists and is not empty")):
        monkeypatch.setattr("emospec.experiments.run.folder_lock", meanwhile)
        others = [*SHORT, "training.learning_rate=2e-3"]
        with pytest.raises(RunError, match=words):
            emospec.train(hum_pack.folder, out, "dai2019-mel", others, resume=resume)
        shutil.rmtree(out)


def test_classes_may_be_numbers(make_utterances: Make, tmp_path: Path) -> None:
    rows = [f"{u.file},{u.speaker},{int(u.emotion == 'sad')}" for u in make_utterances(tmp_path / "audio")]
    (tmp_path / "own.csv").write_text("\n".join(["file,speaker,emotion", *rows]))
    # Called as a corpus that emospec knows, whose terms, classes and splits are not this one's.
    own = [UserCorpus("ravdess", "csv", "CC0 1.0")]
    pack, _ = prepare(read_corpus("csv:ravdess", tmp_path / "own.csv"), tmp_path / "pack", user_corpora=own)
    run = emospec.train(pack.folder, tmp_path / "run", "dai2019-mel", SHORT)
    assert run.classes == ("0", "1")
    (corpus,) = run.meta.corpora
    assert (corpus.name, corpus.title, corpus.licence) == ("ravdess", "ravdess", "CC0 1.0")
    card = (run.folder / "model" / "README.md").read_text()
    assert "- ravdess: 36 utterances of 6 speakers. Licence: CC0 1.0." in card
    assert set(run.predictions()["target"]) == {"0", "1"}
    assert emospec.evaluate(run.folder)[0].ua == run.scores.test.ua


def test_a_run_records_the_call_that_asked_for_it(hum_pack: Pack, tmp_path: Path) -> None:
    run = emospec.train(hum_pack.folder, tmp_path / "run", overrides=SHORT, fold=2, progress=lambda *_: None)
    arguments = f"{str(hum_pack.folder)!r}, {str(run.folder)!r}, overrides={SHORT!r}, fold=2"
    assert run.meta.command == f"emospec.train({arguments})"
    assert run.meta.command in (run.files.model / "README.md").read_text()


def test_a_run_records_the_command_line_as_given(
    hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [word for override in [*SHORT, 'data.classes=["angry", "sad"]'] for word in ("--set", override)]
    words = ["emospec", "train", str(hum_pack.folder), *sets, "--out", str(tmp_path / "a run"), "--json"]
    monkeypatch.setattr(sys, "argv", words)
    with suppress(SystemExit):
        run_command_line()
    assert shlex.split(read_run(tmp_path / "a run").meta.command) == words


def test_the_commit_is_emospecs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of a project whose checkout holds the environment."""
    installed = tmp_path / ".venv" / "provenance.py"
    installed.parent.mkdir()
    installed.write_text("")
    monkeypatch.setattr("emospec.runs.provenance.__file__", str(installed))
    assert commit() is None
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    assert commit() is None
    for words in (["add", "-f", installed], [*who, "commit", "-q", "-m", "ours"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    assert len(commit() or "") == 40


def test_a_start_whose_model_is_damaged_is_refused(hum_pack: Pack, honest: RunRecord, tmp_path: Path) -> None:
    copy = tmp_path / "start"
    shutil.copytree(honest.folder, copy)
    (copy / "model" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(RunError, match="cannot be read as a model"):
        emospec.train(
            hum_pack.folder, tmp_path / "run", "dai2019-mel", [*SHORT, f"training.start_from={copy}"]
        )

"""The reader of IEMOCAP: counts of a whole tree, speakers, labels and errors."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from refusals import message_of, touch

from emospec.data.corpora import check_corpus, read_corpus
from emospec.data.utterances import Utterance
from emospec.errors import CorpusError
from iemocap_tree import make_iemocap_tree


def error(act: Callable[[], object]) -> str:
    return message_of(CorpusError, act)


def by(utterances: list[Utterance], attribute: str) -> dict[str, int]:
    return dict(Counter(getattr(u, attribute) for u in utterances))


@pytest.fixture(scope="module")
def iemocap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("iemocap")
    make_iemocap_tree(root)
    return root


def test_iemocap_whole_tree_gives_exactly_the_known_counts(iemocap: Path) -> None:
    utterances = read_corpus("iemocap", iemocap)
    four = [u for u in utterances if u.emotion in ("neutral", "happy", "angry", "sad")]
    assert len(four) == 5531
    assert by(four, "emotion") == {"neutral": 1708, "happy": 1636, "angry": 1103, "sad": 1084}
    assert [by(four, "session")[f"Session{n}"] for n in range(1, 6)] == [1085, 1023, 1151, 1031, 1241]
    assert by(four, "style") == {"improvised": 2943, "scripted": 2588}
    assert by(four, "label")["exc"] == 1041
    assert len({u.id for u in utterances}) == len(utterances) == 5531 + 5 * 10
    assert not [u for u in utterances if u.label == "xxx" or u.file.name.startswith("._")]

    check = check_corpus("iemocap", iemocap)
    assert check.complete
    assert check.summary == "5531 of 5531 utterances, 10 of 10 speakers, 50 more of other emotions"


def test_the_speaker_of_iemocap_is_the_last_letter(iemocap: Path) -> None:
    utterances = {u.id: u for u in read_corpus("iemocap", iemocap)}
    other = utterances["iemocap/Ses01F_impro01_M001"]
    assert (other.speaker, other.sex, other.session) == ("Ses01M", "m", "Session1")
    assert (other.style, other.text) == ("improvised", "impro01")
    scripted = utterances["iemocap/Ses05M_script01_1_F000"]
    assert (scripted.speaker, scripted.sex, scripted.style) == ("Ses05F", "f", "scripted")
    assert (scripted.text, scripted.session, scripted.language) == ("script01_1", "Session5", "en")
    assert {u.speaker for u in utterances.values()} == {f"Ses0{n}{s}" for n in range(1, 6) for s in "FM"}


def small_iemocap(root: Path) -> Path:
    labels = (
        touch(root, ["Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"]) / "Session1/dialog/EmoEvaluation"
    )
    rows = ("000\tneu", "001\texc", "002\txxx", "003\tfru", "004\tsad")
    (labels / "Ses01F_impro01.txt").write_text(
        "".join(
            f"[6.2901 - 8.2357]\tSes01F_impro01_F{row}\t[2.5000, 2.5000, 2.5000]\nC-E2:\tNeutral;\t(\xe9)\n"
            for row in rows
        ),
        encoding="latin-1",
    )
    return touch(root, (f"flat/Ses01F_impro01_F{n:03}.flac" for n in range(4)))


def test_iemocap_flattened_part(tmp_path: Path) -> None:
    root = small_iemocap(tmp_path)
    assert [(u.label, u.emotion) for u in read_corpus("iemocap", root)] == [
        ("neu", "neutral"),
        ("exc", "happy"),
        ("fru", "frustrated"),
    ]
    check = check_corpus("iemocap", root)
    assert check.summary == "2 of 5531 utterances, 1 of 10 speakers, 1 more of other emotions"
    assert "session Session2: 0 of 1023" in check.differences


def test_iemocap_without_annotations_is_an_error(tmp_path: Path) -> None:
    root = touch(small_iemocap(tmp_path), ["Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F000.wav"])
    message = error(lambda: read_corpus("iemocap", root))
    assert "Ses02F_impro01_F000.wav has no labels" in message
    assert "no dialog/EmoEvaluation folder of Session2" in message


def test_iemocap_unknown_code_is_an_error(tmp_path: Path) -> None:
    root = small_iemocap(tmp_path)
    labels = root / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    labels.write_text(labels.read_text(encoding="latin-1").replace("exc", "joy"), encoding="latin-1")
    assert "Ses01F_impro01.txt:3: emotion code 'joy' is not known. Known: neu," in error(
        lambda: read_corpus("iemocap", root)
    )

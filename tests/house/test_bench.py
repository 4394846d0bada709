"""The benchmarks measure the method: the plain reference takes the same steps, and operations are counted right."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.__main__ import keep
from bench.broken import reason, rows_of
from bench.measure import Ratio, in_turn, limit_gflops, ratios_of
from bench.plain import PlainTraining, Ways
from bench.training import LADDER, _bfloat16_deviation, _ours, _profile, operations
from broken_audio import broken, run
from emospec.config import Loss, load_settings
from emospec.data.corpora import demo
from emospec.data.pack import Pack, prepare
from emospec.learning.frame_store import FrameStore
from emospec.learning.learner import Learner
from emospec.learning.network import EmotionNetwork
from emospec.learning.sampling import batch_indices
from emospec.learning.spectrogram import Kind
from emospec.learning.task import TrainingTask
from emospec.learning.training import Trainer

CLASSES = 4


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    folder = tmp_path_factory.mktemp("bench")
    demo.synthesise(folder / "corpus", speakers=2, per_class=2)
    return prepare(demo.read(folder / "corpus"), folder / "pack")[0]


@pytest.mark.parametrize(
    ("kind", "ways", "dtype", "most"),
    [
        ("log-mel", Ways(), torch.float64, 1e-8),
        ("log-mel", replace(LADDER["+ fused Adam"], bfloat16=False), torch.float64, 1e-8),
        ("log-mel", replace(LADDER["+ fused Adam"], bfloat16=False), torch.float32, 2e-5),
        ("log-stft", Ways(), torch.float32, 2e-5),
    ],
    ids=["plain", "fast", "mel", "stft"],
)
@pytest.mark.full
def test_a_plain_step_is_a_step_of_emospec(
    pack: Pack, kind: Kind, ways: Ways, dtype: torch.dtype, most: float, tmp_path: Path
) -> None:
    learner = Learner(kind, 1400, list("abcd"))
    store = FrameStore(pack, learner.frontend)
    learner.to(dtype)
    everything = list(range(len(store.counts)))
    targets = np.arange(len(everything)) % CLASSES
    training = load_settings("dai2019-mel", ["training.batch_size=8", "training.precision=float32"]).training
    task = TrainingTask(
        everything, everything, targets, Loss(center_weight=0.3, warmup_steps=0), training, 0, ""
    )
    trainer = Trainer(learner, store, task, tmp_path, torch.device("cpu"))

    frames = [torch.from_numpy(np.array(store.frames(i))).to(dtype) for i in everything]
    plain = PlainTraining(frames, torch.from_numpy(targets), CLASSES, ways)
    plain.network.to(dtype)
    plain.centers = plain.centers.to(dtype)
    plain.network.load_state_dict(learner.network.state_dict())
    both = [*zip(learner.network.parameters(), plain.network.parameters(), strict=True)]

    def take(step: int) -> None:
        trainer.take_step()
        plain.step(batch_indices(step, len(everything), 8, 0).tolist())

    take(0)
    for ours, theirs in both:
        # Of a pool's values that are equal but for rounding, one or another has the gradient.
        assert (ours.grad - theirs.grad).norm() < 2e-3 * theirs.grad.norm()
    if dtype == torch.float64:  # in float32 Adam makes whole steps of what is left of a gradient near 0
        take(1)
        take(2)
        for ours, theirs in both:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=most)
    torch.testing.assert_close(learner.center_loss.centers, plain.centers, rtol=0, atol=most)


@pytest.mark.parametrize("bins", [128, 513])
def test_operations_are_those_that_torch_counts(bins: int) -> None:
    lengths = (49, 357, 1400)
    assert operations(lengths, bins) == sum(counted(length, bins) for length in lengths)


def counted(frames: int, bins: int) -> int:
    """What torch counts in the convolutions and the GRU's products for one utterance, forward and backward."""
    network = EmotionNetwork(bins, CLASSES).to("meta")  # shapes without values
    strip = torch.randn(1, 1, frames, bins, device="meta")
    with FlopCounterMode(display=False) as counter:
        for convolution in network.convolutions:
            strip = convolution(strip)
            if convolution.stride == (1, 1):
                strip = torch.max_pool2d(strip, 2)
        steps = strip[0].permute(1, 2, 0).flatten(1)
        state = torch.randn(len(steps), 128, device="meta", requires_grad=True)
        gru = network.gru
        both = steps @ gru.weight_ih_l0.T, steps @ gru.weight_ih_l0_reverse.T
        both += state @ gru.weight_hh_l0.T, state @ gru.weight_hh_l0_reverse.T
        torch.stack(both).sum().backward()
    return counter.get_total_flops()


def test_bfloat16_is_off_by_more_than_company_and_training_keeps_its_precision(
    pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("UTTERANCES", len(pack)), ("BATCH", 8)):
        monkeypatch.setattr(f"bench.training.{name}", value)
    network = _ours(str(pack.folder), "log-mel").learner.network
    trains_in = network.precision
    precision, company = _bfloat16_deviation(str(pack.folder), "log-mel")
    assert company < precision < 0.1
    assert network.precision == trains_in
    assert "convolution" in _profile(str(pack.folder), "log-mel")


def test_ways_take_turns_and_a_ratio_is_theirs_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def way(name: str) -> float:
        taken.append(name)
        return float(len(taken))

    took = in_turn({"ours": lambda: way("ours"), "theirs": lambda: way("theirs")}, repeats=2)
    assert taken == ["theirs", "ours", "ours", "theirs", "theirs", "ours"]  # the first two are the warm-up
    assert took == {"ours": [3.0, 6.0], "theirs": [4.0, 5.0]}
    assert ratios_of([6.0, 1.0], [2.0, 4.0]) == [3.0, 0.25]
    row = Ratio("training", "plain", [3.0, 1.0, 2.5], "5 /s", "2 /s", target=2.0).row()
    assert row == "| training | plain | 5 /s | 2 /s | **2.50x** | 1.00 to 3.00 | 2x: reached |"
    monkeypatch.setattr("bench.measure.seconds", lambda _: 0.5)
    assert limit_gflops("float32") == pytest.approx(2 * 4096**3 / 0.5 / 1e9)


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.__main__.RESULTS", tmp_path / "RESULTS.md")
    for section in ("## One\n\nold\n", "## Two\n\nsame\n", "## One\n\nnew\n"):
        keep(section)
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.startswith("# Speed, measured\n")
    assert text.endswith("## One\n\nnew\n\n## Two\n\nsame\n")


@pytest.mark.parametrize("name", ["studies.enrolment", "studies.recipe", "studies.robustness"])
def test_a_wrong_folder_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [name, str(tmp_path / "nowhere"), str(tmp_path / "runs")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(name, run_name="__main__")
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.startswith(f"{name}: {tmp_path / 'nowhere'}")
    assert error.count("\n") == 1


@pytest.mark.full
def test_every_end_of_a_broken_recording_has_a_name(tmp_path: Path) -> None:
    outcomes = list(run((broken(tmp_path, k, seed=2) for k in range(60)), "broken_audio:every_way"))
    predicted = [replace(o, end="result") if o.end == "waveform" else o for o in outcomes]
    found = {reason(outcome) for outcome in predicted}
    assert {"predicted", "is truncated", "is empty", "is a folder"} < found
    assert not {name for name in found if name == "another error" or "**" in name}
    assert reason(replace(outcomes[0], end="crash")) == "**crash**"
    table = rows_of({"predict": predicted})
    assert f"| predicted | {sum(o.end == 'result' for o in predicted)} |" in table
    assert all(o.peak_bytes > 2**20 for o in outcomes)
    assert sum(o.processor_seconds for o in outcomes) > 0

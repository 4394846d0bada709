"""One run: one training on one fold of one repeat, in one folder readable without our code.

Drives learning and evaluation, and owns what a run folder holds: `config.toml`, `meta.json`,
`folds.csv`, `history.csv`, `checkpoint/`, `model/` with its card, `features.npz`, `predictions.csv`
and, when all else is there, `scores.json`.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import emospec
from emospec.config import Settings, load_settings, to_toml
from emospec.data.audit import audit_fold, audit_lists, hash_ids
from emospec.data.corpora import CORPORA, Corpus
from emospec.data.pack import Pack
from emospec.data.splits import Fold, Split, make_split, overlap_words, write_folds
from emospec.data.utterances import Utterance, select_classes
from emospec.errors import ProtocolError, RunError
from emospec.evaluation.card import model_card
from emospec.evaluation.metrics import class_distances, recalls, unweighted_accuracy, weighted_accuracy
from emospec.evaluation.results import Run, predicted_confusion, read_run
from emospec.files import write_bytes, write_json, write_text
from emospec.provenance import commit, corpus_facts, hardware, versions

Progress = Callable[[str, int, int, str], None]
"""Called with the run's name, steps done, steps in all, and a word on how it stands."""


@dataclass(frozen=True)
class Job:
    """One run to do: a setting, on one fold of one repeat, in one folder.

    Attributes:
        pack: the decoded corpus's folder.
        out: the run folder.
        settings: resolved.
        fold: from 1.
        repeat: from 0.
        seed: seeds the split, the initial weights and the batches.
        threads: for torch; 0 leaves torch's own choice.
        command: how the user asked for it.
        overrides: what of the preset was changed, beside lambda, alpha and the protocol.
        strict: a leak that the audit finds is an error.
    """

    pack: Path
    out: Path
    settings: Settings
    fold: int = 1
    repeat: int = 0
    seed: int = 0
    threads: int = 0
    command: str = ""
    overrides: tuple[str, ...] = ()
    strict: bool = False

    @property
    def name(self) -> str:
        """What a progress calls it: the last two parts of its folder."""
        return "/".join(self.out.parts[-2:])


def train(
    pack: Path | str,
    out: Path | str,
    preset: str = "dai2019-mel",
    overrides: Sequence[str] = (),
    *,
    fold: int = 1,
    repeat: int = 0,
    seed: int = 0,
    threads: int = 0,
    resume: bool = False,
    strict: bool = False,
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Train and judge one model: one fold of one repeat of a protocol.

    Args:
        pack: a folder that `prepare` made.
        out: the run folder, made here.
        preset: a preset's name or TOML file.
        overrides: `table.key=value` each.
        fold: which fold, from 1.
        repeat: which repeat of a protocol that draws, from 0.
        seed: seeds the split, the initial weights and the batches.
        threads: for torch; 0 leaves its own choice.
        resume: go on with an interrupted run; a finished one is returned as it is.
        strict: refuse a fold with a leak, which otherwise is a warning that travels with the number.
        tensorboard: log to `out/tensorboard` too.
        progress: see `Progress`.

    Raises:
        EmospecError: settings, pack, split, audit or folder do not allow it; nothing is trained then.

    Example:
        >>> emospec.train("packs/emodb", "runs/emodb", fold=1).scores["test"]["UA"]  # doctest: +SKIP
        0.78
    """
    settings = load_settings(preset, overrides)
    command = (
        f"emospec train {pack} --out {out}" + command_options(preset, overrides, seed) + f" --fold {fold}"
    )
    command += f" --repeat {repeat}" * bool(repeat)
    command += " --strict" * strict
    job = Job(
        Path(pack), Path(out), settings, fold, repeat, seed, threads, command, notable(overrides), strict
    )
    return run_job(job, resume=resume, tensorboard=tensorboard, progress=progress)


def run_job(
    job: Job, *, resume: bool = False, tensorboard: bool = False, progress: Progress | None = None
) -> Run:
    """Do one run, from its settings to its `scores.json`. `train` says what may go wrong."""
    refuse_existing(job.out, resume)
    pack, utterances, classes = open_pack(job.pack, job.settings)
    split = split_of(utterances, job.settings, job.repeat, job.seed)
    if not 1 <= job.fold <= len(split.folds):
        raise ProtocolError(
            f"fold {job.fold} is not there: {split.protocol} has folds 1 to {len(split.folds)}"
        )
    fingerprint = _fingerprint(job, pack, utterances, split)
    if (job.out / "scores.json").is_file():
        return _finished(job, fingerprint)

    import torch

    from emospec.learning.training import reuse_freed_memory

    reuse_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(job.threads or before)
    try:
        return _train_and_judge(
            job, pack, utterances, classes, split, fingerprint, resume, tensorboard, progress
        )
    finally:
        torch.set_num_threads(before)


def _train_and_judge(
    job: Job,
    pack: Pack,
    utterances: Sequence[Utterance],
    classes: tuple[str, ...],
    split: Split,
    fingerprint: str,
    resume: bool,
    tensorboard: bool,
    progress: Progress | None,
) -> Run:
    import torch

    from emospec.learning.batches import FrameStore
    from emospec.learning.learner import Learner
    from emospec.learning.training import Row, Task, fit, resolve_precision

    fold, places = split.folds[job.fold - 1], _places(pack, utterances)
    audit = audit_fold(pack, fold, utterances, protocol=split.protocol)
    if job.strict:
        audit.refuse_leaks()
    seed = int(np.random.SeedSequence([job.seed, job.repeat, job.fold]).generate_state(1)[0])
    learner = Learner(job.settings.frontend.kind, job.settings.frontend.max_frames, classes, seed)
    targets = np.full(len(pack), -1, np.int64)
    targets[places] = [classes.index(u.emotion) for u in utterances]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    meta = _meta(job, pack, utterances, classes, split, fold) | {
        "fingerprint": fingerprint,
        "hardware": hardware(torch.get_num_threads(), device),
        "precision": str(resolve_precision(job.settings.training)).removeprefix("torch."),
        "parameters": sum(p.numel() for p in learner.network.parameters()),
        "audit": audit.to_dict(),
    }
    task = Task(
        train=places[list(fold.train)].tolist(),
        dev=places[list(fold.dev)].tolist(),
        targets=targets,
        loss=job.settings.loss,
        training=job.settings.training,
        seed=seed,
        fingerprint=fingerprint,
        protocol=meta["protocol"],
    )
    job.out.mkdir(parents=True, exist_ok=True)
    write_text(job.out / "config.toml", to_toml(job.settings))
    write_folds(split, utterances, job.out / "folds.csv")
    write_json(job.out / "meta.json", meta)

    def show_row(row: Row, steps: int) -> None:
        if progress:
            progress(
                job.out.name, row.step, steps, "" if row.dev_ua is None else f"dev UA {100 * row.dev_ua:.1f}"
            )

    store = FrameStore(pack, learner.frontend, stage(progress, "spectrograms"))
    result = fit(learner, store, task, job.out, resume=resume, tensorboard=tensorboard, progress=show_row)
    fitted_on, selected_on = (
        hash_ids(pack.utterances[i].id for i in used) for used in (result.fitted_on, result.selected_on)
    )
    audit = audit.replaced(audit_lists(fold, utterances, fitted_on=fitted_on, selected_on=selected_on))
    if job.strict:
        audit.refuse_leaks()
    meta |= {"audit": audit.to_dict(), "steps": result.steps, "seconds": round(result.seconds, 1)}
    write_json(job.out / "meta.json", meta)
    outputs = {p: learner.judge(store, places[list(fold.part(p))].tolist()) for p in ("train", "dev", "test")}
    scores = _write_judgement(job.out, utterances, classes, fold, outputs, meta["protocol"])
    about = {"emospec": emospec.__version__, "preset": job.settings.name, "protocol": meta["protocol"]}
    learner.cpu().save(job.out / "model", about)
    scores |= {"selected_step": result.selected_step, "audit": audit.summary}
    write_text(
        job.out / "model" / "README.md", model_card(Run(job.out, job.settings.model_dump(), meta, scores))
    )
    write_json(job.out / "scores.json", scores)
    return read_run(job.out)


def judge(run: Run, pack: Path | str, out: Path | None = None) -> pd.DataFrame:
    """Let a run's model judge all utterances of a pack that are of its classes.

    Args:
        run: a finished run.
        pack: any pack, such as one of another corpus.
        out: where to write the predictions as CSV, if anywhere.

    Returns:
        The predictions, one row per utterance, columns as in `predictions.csv`; `part` is `test` for those
        that the model was neither trained nor chosen on: they alone can be a result.

    Raises:
        RunError: the pack holds no utterance of the run's classes, or none that is new to the model.
    """
    from emospec.learning.batches import FrameStore
    from emospec.learning.learner import Learner

    opened = Pack(pack)
    utterances = [u for u in opened.utterances if u.emotion in run.classes]
    if not utterances:
        raise RunError(f"{pack} holds no utterance of the run's classes: {', '.join(run.classes)}")
    known = run.known_utterances()
    parts = [known.get(u.id, "test") for u in utterances]
    if "test" not in parts:
        raise RunError(f"{pack} holds no utterance that is new to the model: all trained or selected it")
    learner = Learner.load(run.folder / "model")
    outputs = learner.judge(FrameStore(opened, learner.frontend), _places(opened, utterances).tolist())
    table = _predictions(utterances, parts, run.classes, outputs.probabilities)
    if out is not None:
        write_text(out, table.to_csv(index=False))
    return table


def _finished(job: Job, fingerprint: str) -> Run:
    """A run that is there already, where it is the one asked for."""
    run = read_run(job.out)
    if run.meta.get("fingerprint") != fingerprint:
        raise RunError(
            f"{job.out} holds a finished run of other settings, utterances or another version. "
            "Name another folder"
        )
    if job.strict:
        run.audit.refuse_leaks()
    return run


def _write_judgement(
    out: Path,
    utterances: Sequence[Utterance],
    classes: Sequence[str],
    fold: Fold,
    outputs: dict[str, Any],
    protocol: dict[str, Any],
) -> dict[str, Any]:
    """Write `features.npz` and `predictions.csv`; what `scores.json` says of them."""
    z, labels, names, parts = [], [], [], []
    scores: dict[str, Any] = {"classes": list(classes), "protocol": protocol, "distances": {}}
    tables = []
    for part, output in outputs.items():
        chosen = [utterances[i] for i in fold.part(part)]
        z.append(output.z)
        labels += [u.emotion for u in chosen]
        names += [u.id for u in chosen]
        parts += [part] * len(chosen)
        distances = class_distances(output.z, [u.emotion for u in chosen])
        scores["distances"][part] = {"within": distances.within, "between": distances.between}
        if part != "train":
            table = _predictions(chosen, [part] * len(chosen), classes, output.probabilities)
            tables.append(table.assign(protocol=protocol["name"], folds_sha256=protocol["hash"]))
            scores[part] = score(table, classes)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, z=np.concatenate(z), label=np.array(labels), utterance=np.array(names), part=np.array(parts)
    )
    write_bytes(out / "features.npz", buffer.getvalue())
    write_text(out / "predictions.csv", pd.concat(tables).to_csv(index=False))
    return scores


def score(predictions: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """UA, WA, recall per class, confusion and number of utterances of predictions."""
    confusion = predicted_confusion(predictions, classes)
    return {
        "classes": list(classes),
        "UA": unweighted_accuracy(confusion),
        "WA": weighted_accuracy(confusion),
        "recall": dict(zip(classes, recalls(confusion).tolist(), strict=True)),
        "confusion": confusion.tolist(),
        "utterances": len(predictions),
    }


def _predictions(
    utterances: Sequence[Utterance], parts: Sequence[str], classes: Sequence[str], probabilities: Any
) -> pd.DataFrame:
    facts = {
        name: [getattr(u, name) for u in utterances]
        for name in ("corpus", "speaker", "sex", "language", "text")
    }
    return pd.DataFrame(
        {"utterance": [u.id for u in utterances], "part": parts}
        | facts
        | {
            "target": [u.emotion for u in utterances],
            "predicted": [classes[k] for k in probabilities.argmax(axis=1)],
        }
        | {f"p_{name}": probabilities[:, k] for k, name in enumerate(classes)}
    )


def open_pack(pack: Path, settings: Settings) -> tuple[Pack, list[Utterance], tuple[str, ...]]:
    """The pack, its utterances of the classes in use, and the classes.

    The class set `default` is the one that the corpus is known for, such as four of IEMOCAP's
    emotions; for a pool or a corpus of your own it is all that is there.
    """
    opened = Pack(pack)
    utterances, classes = opened.utterances, settings.data.classes
    if classes == "default":
        corpus = _only_corpus(utterances)
        known = corpus.classes if corpus else {}
        utterances, classes = [u for u in utterances if not known or u.emotion in known], "all"
    return opened, *select_classes(utterances, classes)


def split_of(utterances: Sequence[Utterance], settings: Settings, repeat: int, seed: int) -> Split:
    """The split that the settings name; `default` is that of the one corpus, or groups:5 for a pool."""
    corpus = _only_corpus(utterances)
    protocol = settings.data.protocol
    if protocol == "default":
        protocol = corpus.protocol if corpus else "groups:5"
    folds = corpus.folds if corpus else None
    return make_split(utterances, protocol, repeat=repeat, seed=seed, speaker_folds=folds)


def _only_corpus(utterances: Sequence[Utterance]) -> Corpus | None:
    names = {u.corpus for u in utterances}
    return CORPORA.get(names.pop()) if len(names) == 1 else None


def _places(pack: Pack, utterances: Sequence[Utterance]) -> np.ndarray[Any, np.dtype[np.int64]]:
    place = {u.id: i for i, u in enumerate(pack.utterances)}
    return np.array([place[u.id] for u in utterances], np.int64)


def stage(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    """One named stage of a progress, for rooms that count and know no names."""
    return progress and (lambda done, all_: progress(name, done, all_, ""))


def refuse_existing(out: Path, resume: bool) -> None:
    """RunError where a folder holds something and nobody asked to go on with it."""
    if out.exists() and not resume and any(out.iterdir()):
        raise RunError(f"{out} exists and is not empty. Go on with it by --resume, or name another folder")


def _fingerprint(job: Job, pack: Pack, utterances: Sequence[Utterance], split: Split) -> str:
    """A hash of everything that a run's result depends on, beside the machine."""
    settings = job.settings.model_dump(exclude={"training": {"checkpoint_seconds"}})
    labels = sorted((u.id, u.emotion) for u in utterances)
    facts = (labels, settings, job.fold, job.repeat, job.seed, pack.digest, split.hash, emospec.__version__)
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def command_options(preset: str, overrides: Sequence[str], seed: int) -> str:
    """The options of a command line that asks for these settings."""
    return f" --preset {preset}" + "".join(f" --set {o}" for o in overrides) + f" --seed {seed}"


def notable(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that nothing else in a setting's name tells, sorted, without spaces."""
    told = ("loss.center_weight=", "loss.center_rate=", "data.protocol=")
    return tuple(sorted(o for o in ("".join(text.split()) for text in overrides) if not o.startswith(told)))


def _meta(
    job: Job, pack: Pack, utterances: Sequence[Utterance], classes: Sequence[str], split: Split, fold: Fold
) -> dict[str, Any]:
    """What `meta.json` says: enough to know what was done, on what, and to repeat it."""
    overlap, words = overlap_words(fold, utterances)
    return {
        "emospec": emospec.__version__,
        "preset": job.settings.name,
        "overrides": list(job.overrides),
        "command": job.command,
        "commit": commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "seed": job.seed,
        "classes": list(classes),
        "protocol": {
            "name": split.protocol,
            "words": split.words,
            "speaker_overlap": overlap,
            "overlap_words": words,
            "fold": job.fold,
            "folds": len(split.folds),
            "repeat": job.repeat,
            "hash": split.hash,
        },
        "pack": {"folder": str(pack.folder), "digest": pack.digest, "skipped": len(pack.skipped)},
        "corpora": [corpus_facts(name, utterances) for name in sorted({u.corpus for u in utterances})],
        "counts": {
            part: dict(Counter(utterances[i].emotion for i in fold.part(part)))
            for part in ("train", "dev", "test")
        },
    }

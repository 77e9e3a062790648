# SPDX-License-Identifier: Apache-2.0
"""Which patch size and depth suit a list best: many short trainings, kept so that they go on.

The search itself is Optuna's: a tree-structured Parzen estimator proposes (Bergstra et al., NeurIPS
2011), and what falls behind the median of the others is ended early. Trials are lines of a journal
in the work folder, each written at once.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ReadingRoomLib.commands import Job
from ReadingRoomLib.errors import BadInput, DependencyMissing
from ReadingRoomLib.live_training import claim_folder

from .engines import LandmarkModel
from .evaluation import prepare_cases
from .landmark_cases import read_cases
from .patch_evaluation import patch_answers, shares_by_patient
from .patches import PIXELS
from .pretrain_command import FEWEST_PATIENTS, parts_of
from .pretraining import settings_of, train_recipe
from .recipes import DEPTHS, PATCH_MM, SEED, Recipe
from .search_plot import draw_search

if TYPE_CHECKING:
    import optuna

JOURNAL, IMAGES, TABLE, PLOT = "trials.jsonl", "images", "trials.csv", "search.png"
STUDY = "patches"
SIDES = (0.375, 3.0)  # of the usual side of a patch
CONVOLUTIONS, SIZES, DROPOUT = (1, 2), (1, 2), (0.2, 0.6)
PARAMETERS = ("patch_mm", "depth", "convolutions", "sizes", "dropout")
RUNGS = 3  # times that a training is looked at before it is whole
STARTUP = 5  # trials at random, before anything is proposed or ended


@dataclass(frozen=True)
class Options:
    """What is searched.

    Attributes:
        data: list of images with landmarks.
        work: folder for images and trials; what is there goes on.
        trials: how many there shall be in all.
        steps: of a training.
        landmarks: how many, the most frequent ones; 0: all.
        modality: of the images.
    """

    data: Path
    work: Path
    trials: int = 20
    steps: int = 300
    landmarks: int = 0
    modality: str = "CT"


def run(job: Job, options: Options, say: Callable[[str], None]) -> None:
    """Search, and write table and plot into the job's folder.

    Args:
        job: gets ``trials.csv`` and ``search.png``.
        options: what is searched.
        say: shows a person a line.

    Raises:
        BadInput: the list or an option cannot be used, or the folder holds another search.
        DependencyMissing: Optuna is not installed.
    """
    optuna = _optuna()
    if options.trials < 1 or options.steps < RUNGS:
        raise BadInput(f"A search needs at least one trial of at least {RUNGS} steps.")
    job.progress.stage("list", 1, "Reading the list")
    cases = read_cases(options.data, options.modality, options.landmarks or None, FEWEST_PATIENTS)
    for sentence in cases.warnings:
        job.warn(sentence)
    parts = parts_of(cases, job.seed)
    usual = PATCH_MM
    job.progress.stage("images", len(parts["training"]) + len(parts["validation"]),
                       "Reading the images")
    prepared = {}
    for part in ("training", "validation"):
        done = sum(map(len, prepared.values()))
        prepared[part] = prepare_cases(
            parts[part], cases.names, usual * SIDES[0] / PIXELS, options.work / IMAGES,
            lambda number, done=done: job.progress.advance(done + number))
    options.work.mkdir(parents=True, exist_ok=True)
    claim_folder(options.work / "search", {
        "names": cases.names, "steps": options.steps, "seed": job.seed, "modality":
        options.modality, "cases": {part: [[case.file.name, case.patient, case.points.tolist()]
                                           for case in own] for part, own in prepared.items()}})
    study = _study(optuna, options.work / JOURNAL, job.seed)
    done = _done(study)
    job.progress.stage("search", options.trials, "Searching")
    job.progress.advance(min(len(done), options.trials))

    def objective(trial: optuna.Trial) -> float:
        return _trial(optuna, trial, options, cases.names, prepared, job)

    def after(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        job.progress.advance(len(_done(study)))

    missing = options.trials - len(done)
    if missing > 0:
        study.optimize(objective, n_trials=missing, callbacks=[after])
    _write(job, study, say)


def _optuna():
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend  # noqa: F401
    except ImportError as error:
        raise DependencyMissing("The search needs the Python package optuna: install it (pip "
                                "install optuna).") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _study(optuna, journal: Path, seed: int) -> optuna.Study:
    """The study in a journal; trials that a killed search left behind are failed, and come anew."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    storage = JournalStorage(JournalFileBackend(
        str(journal), lock_obj=JournalFileOpenLock(str(journal))))
    before = len(optuna.get_all_study_names(storage))
    known = optuna.load_study(study_name=STUDY, storage=storage).trials if before else []
    # a sampler's random numbers do not go on by themselves, so each start gets its own
    study = optuna.create_study(
        study_name=STUDY, storage=storage, load_if_exists=True, direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed + len(known), n_startup_trials=STARTUP),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP))
    for trial in known:
        if trial.state == optuna.trial.TrialState.RUNNING:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _done(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials that say something: whole ones, and those that were ended early; no failed ones."""
    return [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


def recipe_of(parameters: dict[str, Any]) -> Recipe:
    """The recipe that a trial's parameters stand for."""
    return replace(Recipe(SEED, parameters["patch_mm"]), sizes=parameters["sizes"],
                   depth=parameters["depth"], convolutions=parameters["convolutions"],
                   dropout=parameters["dropout"])


def _trial(optuna, trial: optuna.Trial, options: Options, names: tuple[str, ...], prepared,
           job: Job) -> float:
    usual = PATCH_MM
    recipe = recipe_of({
        "patch_mm": trial.suggest_float("patch_mm", SIDES[0] * usual, SIDES[1] * usual, log=True),
        "depth": trial.suggest_int("depth", DEPTHS[0], DEPTHS[-1]),
        "convolutions": trial.suggest_int("convolutions", *CONVOLUTIONS),
        "sizes": trial.suggest_int("sizes", *SIZES),
        "dropout": trial.suggest_float("dropout", *DROPOUT)})
    folder = options.work / "trainings" / str(trial.number)
    value = math.nan
    for rung in range(1, RUNGS + 1):
        steps = options.steps * rung // RUNGS
        settings = {part: replace(one, decay_share=0.0, average_decay=0.95) for part, one in
                    settings_of(SEED, steps, job.seed).items()}
        network = train_recipe(recipe, prepared["training"], [], len(names), settings, folder,
                               job.device, lambda part, done, steps: None)
        model = LandmarkModel(network, names, recipe, options.modality)
        found = shares_by_patient(patch_answers(model, prepared["validation"], job.seed,
                                                job.device))
        value = fmean(found["top_1"])
        trial.report(value, rung)
        if rung < RUNGS and trial.should_prune():
            raise optuna.TrialPruned
    trial.set_user_attr("top_5", fmean(found["top_5"]))
    trial.set_user_attr("parameters", sum(one.numel() for one in network.parameters()))
    return value


def _write(job: Job, study: optuna.Study, say: Callable[[str], None]) -> None:
    trials = [trial for trial in study.trials if trial.values and trial.state.name == "COMPLETE"]
    if not trials:
        raise BadInput("No trial was finished: give more steps.")
    rows = [_row(trial) for trial in _done(study)]
    with (job.folder / TABLE).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    draw_search(rows, job.folder / PLOT)
    best = study.best_trial
    job.record(files={"trials": TABLE, "plot": PLOT}, best={**best.params, "top_1": best.value},
               trials=len(rows))
    say(f"Best of {len(rows)} trials: top-1 {best.value:.3f} with patches of "
        f"{best.params['patch_mm']:.3g} mm, {best.params['depth']} blocks, "
        f"{best.params['convolutions']} convolutions each, {best.params['sizes']} sizes")


def _row(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """A trial for the table; one that was ended early has its last value."""
    last = max(trial.intermediate_values.items(), default=(0, math.nan))[1]
    return {"trial": trial.number, "state": trial.state.name.lower(),
            "top_1": round(last, 4), "top_5": trial.user_attrs.get("top_5", ""),
            **{name: _rounded(trial.params.get(name, "")) for name in PARAMETERS},
            "parameters": trial.user_attrs.get("parameters", "")}


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


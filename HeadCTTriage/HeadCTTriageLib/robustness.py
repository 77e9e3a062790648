# SPDX-License-Identifier: Apache-2.0
"""How much judgements change when images do: a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ReadingRoomLib.commands import Job
from ReadingRoomLib.images import read_image
from ReadingRoomLib.perturbations import Perturbation, write_table

from .answers import RECIPES, Recipe
from .brain import locate_brain
from .certainty import RED, Certainty
from .engines import TorchEngine, load_model
from .judging import MOST_MISSED
from .perturbations import EVERYDAY, adversarial
from .slices import cut_slices, in_windows

TABLE, CURVES = "robustness.csv", "robustness.png"


@dataclass(frozen=True)
class Row:
    """What one strength of one perturbation does.

    Attributes:
        perturbation, unit, strength: what was done.
        heads: number of heads.
        changed: of them, whose side of the threshold is another one than before.
        mean_change, largest_change: of the probability of being urgent, 0 to 1.
    """

    perturbation: str
    unit: str
    strength: float
    heads: int
    changed: int
    mean_change: float
    largest_change: float


def run(job: Job, cts: Sequence[Path], model: str, recipe: str | None) -> None:
    """Measure a model on heads, and write table and curves into the job's folder.

    Args:
        job: gets the files.
        cts: image files or DICOM folders of heads.
        model: name in the registry or folder of a bundle.
        recipe: what the model must have been trained as, or None.

    Raises:
        BadInput: an image is no CT of a head.
        ModelMissing, ModelUntrusted: the model cannot be used.
    """
    bundle = load_model(model, recipe)
    known = RECIPES[bundle.metadata["recipe"]]
    job.record(model=bundle.described())
    job.progress.stage("read", len(cts), "Reading")
    heads = []
    for number, path in enumerate(cts, 1):
        ct = read_image(path, "CT").image
        heads.append(cut_slices(ct, locate_brain(ct), known.sampling))
        job.progress.advance(number)
    network = bundle.network
    perturbations = (*EVERYDAY, *adversarial(network.eval(), known.sampling.windows,
                                             known.name == "modern"))
    steps = sum(len(each.strengths) for each in perturbations)
    job.progress.stage("perturb", steps, "Disturbing images")
    rows = measure_robustness(TorchEngine(network, job.device), known,
                              Certainty.read(bundle.metadata["certainty"]), heads, perturbations,
                              job.seed, job.progress.advance)
    write_table(rows, job.folder / TABLE)
    draw_curves(rows, job.folder / CURVES)
    job.record(files={"table": TABLE, "curves": CURVES}, heads=len(heads))


def measure_robustness(engine: TorchEngine, recipe: Recipe, certainty: Certainty,
                       heads: Sequence[np.ndarray], perturbations: Sequence[Perturbation],
                       seed: int = 0, on_step=lambda done: None) -> list[Row]:
    """What every strength of every perturbation does to heads.

    Args:
        engine: network of ``recipe``.
        certainty: turns its scores into probabilities.
        heads: slices (slices, height, width) in HU, as the recipe samples them.
        perturbations: to measure.
        seed: of what is drawn.
        on_step: called with how many strengths are done.
    """
    chosen = certainty.threshold(MOST_MISSED)
    limit = chosen.value if chosen else 0.0

    def score(density: np.ndarray) -> float:
        slices = in_windows(density, recipe.sampling.windows)
        return float(recipe.read(engine(recipe.inputs(slices))).scores[RED])

    before = [score(head) for head in heads]
    rows: list[Row] = []
    for each in perturbations:
        for strength in each.strengths:
            after = [score(each.apply(head, strength, np.random.default_rng((seed, number))))
                     for number, head in enumerate(heads)]
            moved = [abs(certainty.urgent(new)[0] - certainty.urgent(old)[0])
                     for old, new in zip(before, after, strict=True)]
            changed = sum((new >= limit) != (old >= limit)
                          for old, new in zip(before, after, strict=True))
            rows.append(Row(each.name, each.unit, strength, len(heads), changed,
                            round(float(np.mean(moved)), 4), round(float(np.max(moved)), 4)))
            on_step(len(rows))
    return rows


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Share of heads whose side changes, against the strength, one plot for each perturbation."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row.perturbation for row in rows))
    figure, axes = pyplot.subplots(2, -(-len(names) // 2), figsize=(11, 5), sharey=True)
    for plot, name in zip(axes.flat, names, strict=False):
        these = [row for row in rows if row.perturbation == name]
        plot.plot(range(len(these)), [100 * row.changed / row.heads for row in these], "o-",
                  label="other side of the threshold")
        plot.plot(range(len(these)), [100 * row.mean_change for row in these], "s--",
                  label="mean change of probability")
        plot.set_xticks(range(len(these)), [f"{row.strength:g}" for row in these])
        plot.set(title=name, xlabel=these[0].unit, ylim=(-3, 103))
        plot.title.set_fontsize(9)
    for plot in axes.flat[len(names):]:
        plot.axis("off")
    axes.flat[0].set_ylabel("per cent")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="lower right", fontsize=9)
    figure.suptitle(f"{rows[0].heads} heads")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)

# SPDX-License-Identifier: Apache-2.0
"""How the models and calibrations that come with the program were made: ``make models``.

``pairs`` simulates stable follow-ups, ``train`` fits a network to them, once with all patients and
once without each group of them, ``export`` calibrates z on the patients that each of the latter
was not shown and makes the bundle. ``calibrate`` is the same for the method without a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer

from ReadingRoomLib.bundles import load_bundle, write_bundle
from ReadingRoomLib.commands import DeviceOption
from ReadingRoomLib.devices import resolve_device
from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.models import list_bundle
from ReadingRoomLib.training import CHECKPOINT, TrainingSettings, say_steps
from ReadingRoomLib.training import train as fit

from .calibration import Calibration
from .comparison import Classical, Compared
from .learned import NETWORK_OF, REGISTRY, Learned
from .networks import ResidualCNN
from .recipes import MODERN, SEED, Recipe, likelihood_loss
from .simulated_pairs import CTS, SimulatedPair, patients, simulated_pair
from .subtraction import CALIBRATIONS, CLASSICAL, AlikeScans, make_alike
from .training_pairs import PairPatches, read_pair, save_pair

FOLDER = Path(__file__).parent
SEEDS = (201, 202)  # of the follow-ups of a patient
NEVER_SHOWN = ("InVesalius cranium",)  # GPL, which the models are not
FOLDS = 4  # groups of patients that are held out in turn
MOST_VOXELS = 50_000  # of a patient

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@dataclass(frozen=True)
class Plan:
    """How the starter model of a recipe is made.

    Attributes:
        bundle: name of its bundle.
        recipe: what the network sees and answers.
        arguments: of the network.
        settings: of the training.
        how_it_works: for the model card.
    """

    bundle: str
    recipe: Recipe
    arguments: dict[str, Any]
    settings: TrainingSettings
    how_it_works: str

    def build(self) -> torch.nn.Module:
        """The network, untrained, the same for the same seed."""
        torch.manual_seed(self.settings.seed)
        if self.recipe is SEED:
            network = ResidualCNN(**self.arguments)
        else:
            from monai.networks.nets import UNet

            network = UNet(**self.arguments)
        return network.to(memory_format=torch.channels_last_3d)

    def folder(self, work: Path, fold: int | None) -> Path:
        return work / self.recipe.name / ("all" if fold is None else f"fold-{fold}")

    def trained(self, work: Path, fold: int | None) -> tuple[torch.nn.Module, int]:
        """The averaged network of a training, and how many steps it had."""
        state = torch.load(self.folder(work, fold) / CHECKPOINT, map_location="cpu",
                           weights_only=True)
        network = self.build()
        network.load_state_dict(state["average"])
        return network.eval(), state["step"]


PLANS = {plan.recipe.name: plan for plan in (
    Plan(
        "starter", MODERN,
        {"spatial_dims": 3, "in_channels": MODERN.in_channels, "out_channels": MODERN.out_channels,
         "channels": [12, 24, 48, 96], "strides": [1, 2, 2], "num_res_units": 1, "norm": None},
        TrainingSettings(steps=900, batch_size=4, learning_rate=1e-3, decay_share=0.4,
                         average_decay=0.99),
        "A residual U-Net in 3D (MONAI) that sees the prior CT where it agrees best with the "
        "current one, how far it had to be searched, and how large the difference usually is at "
        "places like each. It answers with the change to expect where nothing changed and its "
        "standard deviation, of every voxel and of its neighbourhoods of 5, 8 and 12 mm; it never "
        "sees the current CT. Trained by the Gaussian likelihood.",
    ),
    Plan(
        "starter-seed", SEED,
        {"in_channels": SEED.in_channels, "out_channels": SEED.out_channels},
        TrainingSettings(steps=500, batch_size=4, learning_rate=1e-3, decay_share=0.4,
                         average_decay=0.99),
        "A plain residual CNN in 3D that predicts every voxel of the current CT from the aligned "
        "prior one together with its own error, after Hanaoka (KAKENHI 18K12095); the report gives "
        "no layers, so they are ours. Trained by the Gaussian likelihood.",
    ),
)}

RecipeOption = Annotated[Literal["modern", "seed"], typer.Option(help="Which network.")]
DataOption = Annotated[Path, typer.Option(help="Folder with CTs.")]
FoldOption = Annotated[int | None, typer.Option(
    min=0, max=FOLDS - 1, help="Group of patients to hold out; by default none.")]
WorkOption = Annotated[Path, typer.Option(help="Folder for pairs and trainings.")]


@app.command()
def pairs(data: DataOption, work: WorkOption) -> None:
    """Simulate stable follow-ups of every patient, aligned and matched."""
    (work / "pairs").mkdir(parents=True, exist_ok=True)
    for patient, ct in patients(data):
        for seed in SEEDS:
            path = pair_path(work, patient, seed)
            if path.exists():
                continue
            try:
                save_pair(alike(simulated_pair(patient, ct, seed)).pair, path)
            except BadInput as refused:
                typer.echo(f"{patient}, {seed}: {refused}", err=True)


@app.command()
def train(
    work: WorkOption,
    recipe: RecipeOption = "modern",
    fold: FoldOption = None,
    steps: Annotated[int, typer.Option(help="Training steps; 0: as the starter model.")] = 0,
    device: DeviceOption = "auto",
) -> None:
    """Train a network on the pairs in a folder."""
    plan = PLANS[recipe]
    settings = replace(plan.settings, steps=steps or plan.settings.steps)
    shown = [paths for patient in CTS if patient not in (*held_out(fold), *NEVER_SHOWN)
             if (paths := pairs_of(work, patient))]
    if not shown:
        raise typer.BadParameter(f"There are no pairs in {work}: make them first.")
    patches = PairPatches(shown, plan.recipe, settings.steps * settings.batch_size, settings.seed)

    fit(plan.build(), patches, likelihood_loss, settings, plan.folder(work, fold),
        resolve_device(device), say_steps(settings))


@app.command()
def export(
    work: WorkOption,
    recipe: RecipeOption = "modern",
    output: Annotated[Path | None, typer.Option(
        help="Folder of the bundle; by default the module's own, listed in models.json.")] = None,
    folds: Annotated[Path | None, typer.Option(
        help="Folder for the bundles of the folds, which make bench measures.")] = None,
    scores: Annotated[Path | None, typer.Option(
        help="Folder with what make bench measured, for the card.")] = None,
) -> None:
    """Calibrate networks on patients they were not shown, and write their bundles."""
    plan = PLANS[recipe]
    found = _found(scores)
    z = dict(held_out_z(plan, work))
    for fold in range(FOLDS) if folds else ():
        # a fold is for measuring on its patients, so their z have no part in it
        others = [values for patient, values in z.items() if patient not in held_out(fold)]
        _write(plan, work, fold, others, folds / f"{recipe}-{fold}", {})
    bundle = output or FOLDER / "Models" / plan.bundle
    sha256 = _write(plan, work, None, list(z.values()), bundle, found)
    if output is None:
        list_bundle(REGISTRY, bundle, "TemporalSubtraction")
    typer.echo(f"{bundle}: {sha256}")


@app.command()
def rescore(
    scores: Annotated[Path, typer.Option(help="Folder with what make bench measured anew.")],
    recipe: RecipeOption = "modern",
) -> None:
    """Put new scores into the bundle that the module carries; its weights stay as they are."""
    plan, target = PLANS[recipe], NETWORK_OF[recipe]
    bundle = load_bundle(FOLDER / "Models" / plan.bundle, [target])
    found = _found(scores) or bundle.metadata["eval_metrics"]
    sha256 = write_bundle(
        bundle.folder, {"_target_": target, **plan.arguments}, bundle.network.state_dict(),
        bundle.metadata | {"eval_metrics": found},
        _card(plan, bundle.metadata["training_steps"], found), dtype=torch.float16, overwrite=True)
    list_bundle(REGISTRY, bundle.folder, "TemporalSubtraction")
    typer.echo(f"{bundle.folder}: {sha256}")


def _found(scores: Path | None) -> dict:
    """What ``make bench`` measured of detection, where it is there."""
    measured = scores and scores / "detection.json"
    return json.loads(measured.read_text("utf-8")) if measured and measured.exists() else {}


@app.command()
def calibrate(
    work: WorkOption,
    output: Annotated[Path, typer.Option(help="File to write.")] = CALIBRATIONS,
) -> None:
    """Learn from stable pairs how large z is where nothing changed, without a model.

    Prints the shares of each patient by what the others teach.
    """
    z = {patient: voxels_of(np.concatenate([_classical_z(read_pair(path)) for path in paths]))
         for patient in CTS if (paths := pairs_of(work, patient))}
    for patient, values in z.items() if len(z) > 1 else ():
        others = by_patient([z[other] for other in z if other != patient])
        typer.echo(f"{patient}: {shares_within(others(values))}")
    made = by_patient(list(z.values()))
    output.write_text(json.dumps({CLASSICAL: {**made.written(), "patients": list(z)}}, indent=1)
                      + "\n", "utf-8")
    typer.echo(f"Written to {output}")


TRAINED_ON = (
    "simulated follow-ups without any change of seven real CTs (four of TotalSegmentator's, CC BY "
    "4.0 and Apache-2.0; Lung-PET-CT-Dx A0001, CC BY 4.0; Visible Human Project, public domain)"
)


def _write(plan: Plan, work: Path, fold: int | None, z: list[np.ndarray], bundle: Path,
           found: dict) -> str:
    """Write the bundle of a training, calibrated by z of some patients; return its SHA-256."""
    network, steps = plan.trained(work, fold)
    calibration = by_patient(z)
    return write_bundle(
        bundle, {"_target_": NETWORK_OF[plan.recipe.name], **plan.arguments},
        network.state_dict(), _metadata(plan, steps, calibration, found),
        _card(plan, steps, found), dtype=torch.float16, overwrite=True)


def _metadata(plan: Plan, steps: int, calibration: Calibration, found: dict) -> dict:
    maps = ["voxel", *(f"mean of {size:g} mm" for size in plan.recipe.sizes_mm)]
    answers = [f"{what} of {of}" for what in ("expected change", "logarithm of its error")
               for of in maps]
    common = {"type": "image", "modality": "CT", "spatial_shape": [8, 8, 8], "dtype": "float32",
              "value_range": [], "is_patch_data": True}
    return {
        "name": plan.bundle,
        "version": "0.1.0",
        "task": "The current CT of bones as the prior one lets expect it, with the error",
        "description": plan.how_it_works,
        "authors": "ReadingRoom contributors",
        "copyright": "Apache-2.0",
        "recipe": plan.recipe.name,
        "labels": {},
        "spacing": None,
        "trained_on": TRAINED_ON,
        "simulated": True,
        "training_steps": steps,
        "calibration": calibration.written(),
        "eval_metrics": found,
        "network_data_format": {
            "inputs": {"image": {
                **common, "format": "hounsfield", "num_channels": plan.recipe.in_channels,
                "channel_def": {str(i): name for i, name in enumerate(plan.recipe.channel_names)},
            }},
            "outputs": {"pred": {
                **common, "format": "probabilities", "num_channels": plan.recipe.out_channels,
                "channel_def": {str(i): name for i, name in enumerate(answers)},
            }},
        },
    }


def _card(plan: Plan, steps: int, found: dict) -> str:
    scores = found.get(plan.recipe.name, {})
    lines = [f"- {key.replace('_', ' ')}: {value}" for key, value in scores.items()]
    return (FOLDER / "starter_card.md").read_text("utf-8").format(
        name=plan.bundle, recipe=plan.recipe.name, how_it_works=fill(plan.how_it_works, 100),
        training=f"{steps:,} training steps of {plan.settings.batch_size} patches of 40x48x48 "
                 "voxels, AdamW, averaged weights.",
        scores="\n".join([f"{found['dataset']}.", "", *lines]) if lines else "Not measured yet.")


def pair_path(work: Path, patient: str, seed: int) -> Path:
    return work / "pairs" / f"{patient.replace(' ', '_')}-{seed}.npz"


def pairs_of(work: Path, patient: str) -> list[Path]:
    """Those of a patient that could be aligned."""
    paths = [pair_path(work, patient, seed) for seed in SEEDS]
    return [path for path in paths if path.exists()]


def held_out(fold: int | None) -> list[str]:
    """Patients that a fold's network is not shown."""
    return [] if fold is None else list(CTS)[fold::FOLDS]


def alike(pair: SimulatedPair, matched: bool = True) -> AlikeScans:
    return make_alike(pair.current, pair.prior, pair.transform, pair.quality, matched)


def held_out_z(plan: Plan, work: Path) -> Iterator[tuple[str, np.ndarray]]:
    """z of voxels before calibration, of each patient by a network not shown it.

    It takes minutes, so it is kept beside the training.
    """
    for fold in range(FOLDS):
        training = plan.folder(work, fold)
        for patient in held_out(fold):
            kept = training / f"z-{patient.replace(' ', '_')}.npy"
            pairs = pairs_of(work, patient)
            if not pairs:
                continue
            newest = max(path.stat().st_mtime for path in (training / CHECKPOINT, *pairs))
            if not kept.exists() or kept.stat().st_mtime < newest:
                method = Learned(plan.trained(work, fold)[0], plan.recipe, Calibration())
                np.save(kept, voxels_of(np.concatenate(
                    [method.raw(pair)[2][0][pair.where] for pair in map(read_pair, pairs)])))
            yield patient, np.load(kept)


def _classical_z(pair: Compared) -> np.ndarray:
    _, z, usual = Classical.raw(pair)
    return usual(z[pair.where])


def voxels_of(z: np.ndarray) -> np.ndarray:
    """A random part, so that every patient counts alike."""
    return np.random.default_rng(0).choice(z, min(len(z), MOST_VOXELS), replace=False)


def by_patient(z: list[np.ndarray]) -> Calibration:
    """A calibration in which every patient counts alike."""
    return Calibration.of(np.concatenate(z),
                          np.concatenate([np.full(len(part), 1 / len(part)) for part in z]))


def shares_within(z: np.ndarray) -> dict[str, float]:
    """Per cent of values within 1, 2 and 3; of a standard normal 68.3, 95.4 and 99.7."""
    return {f"within_{limit}": round(100 * float((np.abs(z) < limit).mean()), 1)
            for limit in (1, 2, 3)}


if __name__ == "__main__":
    app()

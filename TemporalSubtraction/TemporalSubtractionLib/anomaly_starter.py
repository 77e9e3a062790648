# SPDX-License-Identifier: Apache-2.0
"""The anomaly models: ``python -m TemporalSubtractionLib.anomaly_starter --help``.

``train`` fits the networks to normal bone of real CTs, ``export`` makes the bundles. Everything is
seeded; a killed training resumes where its last checkpoint is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import nn
from torch.utils.data import Dataset

from ReadingRoomLib.bundles import write_bundle
from ReadingRoomLib.commands import DeviceOption
from ReadingRoomLib.devices import resolve_device
from ReadingRoomLib.models import list_bundle
from ReadingRoomLib.training import CHECKPOINT, TrainingSettings
from ReadingRoomLib.training import train as fit

from .anomaly import REGISTRY
from .anomaly_networks import VOI, BoneAutoencoder, Flow
from .anomaly_scan import VOXEL_MM, Scan, scan_of, seen
from .anomaly_scores import DEQUANTISED_HU, NETWORK_OF, SCORES, unusual
from .simulated_pairs import CTS, patients
from .starter import by_patient, voxels_of

TISSUE_HU = -250.0  # any tissue but lung is denser
GAIN, OFFSET_HU, NOISE_HU = (0.9, 1.1), (-20.0, 20.0), (0.0, 25.0)  # of other scanners
FOREIGN_VOXELS = (2.0, 6.0)  # radius of what is shown of another place
CODE_WEIGHT = 1e-3  # of the norm of the code beside the reconstruction error

HELD_OUT = (
    ("TotalSegmentator trunk", "TotalSegmentator s0244", "Visible Human male",
     "Visible Human female"),
    ("TotalSegmentator thorax", "LungDx A0001", "TotalSegmentator s0328", "InVesalius cranium"),
)
"""Patients that the networks of each fold are not shown; either has trunk or thorax, and a head."""
WHOLE = "whole"  # in place of the number of a fold: nobody is held out
FOLDER = Path(__file__).parent
app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make the anomaly models.")


@dataclass(frozen=True)
class Source:
    """Where VOIs come from.

    Attributes:
        density: HU, int16, with a margin of half a VOI.
        bone, tissue: centres of VOIs, as indices into the flat array.
    """

    density: np.ndarray
    bone: np.ndarray
    tissue: np.ndarray

    @classmethod
    def of(cls, scan: Scan) -> Source:
        density = np.pad(scan.density, VOI // 2, mode="edge").round().astype(np.int16)
        inside = np.zeros(density.shape, bool)
        inside[(slice(VOI // 2, -VOI // 2),) * 3] = True
        bone = np.pad(scan.bone, VOI // 2)
        return cls(density, np.flatnonzero(bone),
                   np.flatnonzero(inside & ~bone & (density > TISSUE_HU)))


class BoneVois(Dataset):
    """Batches of VOIs around places of bone, each patient as often as the others.

    Args:
        sources: of each patient.
        length: number of batches.
        size: VOIs of a batch.
        seed: with it and its number alone a batch is drawn.
        foreign: whether a ball in every VOI shows another place of the body.
        noise_hu: standard deviation of noise that every VOI gets.
    """

    def __init__(self, sources: list[Source], length: int, size: int, seed: int,
                 foreign: bool = False, noise_hu: float = 0.0) -> None:
        self.sources, self.length, self.size, self.seed = sources, length, size, seed
        self.foreign, self.noise_hu = foreign, noise_hu

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng([self.seed, number])
        vois = torch.from_numpy(np.stack([self._voi(random) for _ in range(self.size)]))[:, None]
        return {"image": vois, "label": vois}

    def _voi(self, random: np.random.Generator) -> np.ndarray:
        source = self._any(random)
        voi = _cut(source.density, source.bone, random)
        if self.foreign:
            other = self._any(random)
            ball = _ball(random)
            voi = (1 - ball) * voi + ball * _cut(
                other.density, other.bone if random.random() < 0.5 else other.tissue, random)
        noise = np.hypot(random.uniform(*NOISE_HU), self.noise_hu)
        voi = voi * random.uniform(*GAIN) + random.uniform(*OFFSET_HU)
        return seen(voi + noise * random.standard_normal(voi.shape, np.float32))

    def _any(self, random: np.random.Generator) -> Source:
        return self.sources[random.integers(len(self.sources))]


def _cut(density: np.ndarray, places: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The VOI around one of the places, mirrored at random."""
    centre = np.unravel_index(places[random.integers(len(places))], density.shape)
    voi = density[tuple(slice(c - VOI // 2, c + VOI // 2) for c in centre)]
    return np.flip(voi, np.flatnonzero(random.random(3) < 0.5)).astype(np.float32)


def _ball(random: np.random.Generator) -> np.ndarray:
    """A ball with a soft edge anywhere in a VOI: 1 inside, 0 outside."""
    axes = np.ogrid[:VOI, :VOI, :VOI]
    distance = np.sqrt(sum((axis - centre) ** 2
                           for axis, centre in zip(axes, random.uniform(0, VOI, 3), strict=True)))
    return np.clip(random.uniform(*FOREIGN_VOXELS) - distance + 0.5, 0, 1).astype(np.float32)


def autoencoder_loss(output: tuple[torch.Tensor, torch.Tensor], voi: torch.Tensor) -> torch.Tensor:
    """Reconstruction error, and a little of the code's norm, so that it tells what is unusual."""
    reconstruction, code = output
    return (reconstruction - voi).abs().mean() + CODE_WEIGHT * code.square().mean()


def flow_loss(log_density: torch.Tensor, voi: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood, nats a voxel."""
    return -log_density.sum() / voi.numel()


@dataclass(frozen=True)
class Plan:
    """How a network is made.

    Attributes:
        network: makes it, untrained.
        loss: of its output and the VOIs.
        data: arguments of :class:`BoneVois`.
        settings: of the training; a step is one batch of VOIs.
    """

    network: Callable[[], nn.Module]
    loss: Callable[[Any, torch.Tensor], torch.Tensor]
    data: dict[str, Any]
    settings: TrainingSettings


FLOW_SETTINGS = TrainingSettings(steps=800, learning_rate=2e-3, weight_decay=1e-5, decay_share=0.4,
                                 average_decay=0.99, bfloat16=False)
PLANS = {
    "autoencoder": Plan(BoneAutoencoder, autoencoder_loss, {"size": 32}, replace(
        FLOW_SETTINGS, steps=1200)),
    "bone": Plan(Flow, flow_loss, {"size": 24, "noise_hu": DEQUANTISED_HU}, FLOW_SETTINGS),
    "background": Plan(Flow, flow_loss, {"size": 24, "noise_hu": DEQUANTISED_HU,
                                         "foreign": True}, FLOW_SETTINGS),
}


def shown_to(fold: int | str) -> list[str]:
    """Patients whose CTs a fold's networks learn from."""
    return [name for name in CTS if fold == WHOLE or name not in HELD_OUT[fold]]


def read_scans(data: Path, names: list[str]) -> dict[str, Scan]:
    """The CTs of patients, as the networks see them."""
    return {name: scan_of(ct) for name, ct in patients(data) if name in names}


WorkOption = Annotated[Path, typer.Option(help="Folder of the trainings.")]
DataOption = Annotated[Path, typer.Option(help="Folder with CTs.")]


@app.command()
def train(
    data: DataOption,
    work: WorkOption,
    fold: Annotated[int | None, typer.Option(
        min=0, max=len(HELD_OUT) - 1, help="Hold out the patients of this fold.")] = None,
    steps: Annotated[int, typer.Option(help="Training steps; 0: as the models have.")] = 0,
    device: DeviceOption = "auto",
) -> None:
    """Train the autoencoder and both flows on normal bone."""
    fold = WHOLE if fold is None else fold
    sources = [Source.of(scan) for scan in read_scans(data, shown_to(fold)).values()]
    for name, plan in PLANS.items():
        settings = replace(plan.settings, steps=steps or plan.settings.steps)
        vois = BoneVois(sources, settings.steps, seed=settings.seed, **plan.data)

        def report(step: int, loss: float, name=name, settings=settings) -> None:
            if step % 50 == 0:
                print(f"{name} {step}/{settings.steps} loss {loss:.3f}", file=sys.stderr,
                      flush=True)

        torch.manual_seed(settings.seed)
        fit(plan.network(), vois, plan.loss, settings, work / str(fold) / name,
            resolve_device(device), report)


@app.command()
def export(
    data: DataOption,
    work: WorkOption,
    folds: Annotated[Path | None, typer.Option(
        help="Folder that gets the bundles of the folds, for make bench.")] = None,
    scores: Annotated[Path | None, typer.Option(
        help="Folder with what make bench measured, for the cards.")] = None,
) -> None:
    """Calibrate on patients that a fold was not shown, and write the bundles."""
    values = held_out_values(data, work)
    measured = scores and scores / "anomaly.json"
    found = json.loads(measured.read_text("utf-8")) if measured and measured.exists() else {}
    for method in SCORES:
        bundle = FOLDER / "Models" / f"anomaly-{method}"
        _write_bundle(bundle, method, work, WHOLE, values, found)
        list_bundle(REGISTRY, bundle, "TemporalSubtraction")
        for fold in range(len(HELD_OUT)) if folds else ():
            _write_bundle(folds / f"{method}-{fold}", method, work, fold, values, {})


def trained(method: str, work: Path, fold: int | str) -> tuple[nn.Module, dict[str, int]]:
    """The networks of a method in one, and the steps that each was trained for."""
    parts = ("autoencoder",) if method == "autoencoder" else ("bone", "background")
    states = {part: torch.load(work / str(fold) / part / CHECKPOINT, map_location="cpu",
                               weights_only=True) for part in parts}
    network = NETWORK_OF[method]()
    for part, state in states.items():
        (network if method == "autoencoder" else network.get_submodule(part)).load_state_dict(
            state["average"])
    return network.eval(), {part: state["step"] for part, state in states.items()}


def held_out_values(data: Path, work: Path) -> dict[str, dict[str, np.ndarray]]:
    """By score and patient: values of normal bone, by networks that were not shown the patient.

    What was computed before is kept in ``work``.
    """
    values: dict[str, dict[str, np.ndarray]] = {}
    for fold, names in enumerate(HELD_OUT):
        for name in names:
            for method in SCORES:
                path = work / f"{name.replace(' ', '_')}-{method}.npz"
                if not path.exists():
                    scan = read_scans(data, [name])[name].around_bone()
                    found, _ = unusual(trained(method, work, fold)[0], scan)
                    np.savez(path, **{score: voxels_of(each[scan.bone])
                                      for score, each in found.items()})
                with np.load(path) as saved:
                    for score in SCORES[method]:
                        values.setdefault(score, {})[name] = saved[score]
    return values


TRAINED_ON = (
    "bone of eight real CTs of trunk, thorax, head and lower legs, as it was, without any labels "
    "(three of TotalSegmentator's, CC BY 4.0 and Apache-2.0; Lung-PET-CT-Dx A0001, CC BY 4.0; "
    "Visible Human Project, public domain; the cranium of InVesalius, GPL sample)"
)
HOW_IT_WORKS = {
    "autoencoder": (
        "A convolutional autoencoder reconstructs cubes of 24 mm around bone from a code of 128 "
        "numbers. Scores: error, by how much the density differs from the reconstruction; code, "
        "the norm of the code; cosine, one minus the cosine of the angle between the bone around a "
        "place and its reconstruction. Each counts in units of its median in the same CT."
    ),
    "flow": (
        "Two normalising flows of the Glow type give the likelihood of cubes of 24 mm: one knows "
        "bone, the other bone in which a ball of 6 to 18 mm shows another place of the body. The "
        "score, ratio, is by how much more likely a place is to the second, in units of its median "
        "in the same CT. What is denser or thinner is told by the mean of the bone within 30 mm."
    ),
}


def _write_bundle(bundle: Path, method: str, work: Path, fold: int | str,
                  values: dict[str, dict[str, np.ndarray]], found: dict) -> None:
    network, steps = trained(method, work, fold)
    shown = shown_to(fold)
    calibrations = {score: by_patient([values[score][name] for name in shown]).written()
                    for score in SCORES[method]}
    measured = {score: found[score] for score in SCORES[method] if score in found}
    name = f"anomaly-{method}" + ("" if fold == WHOLE else f"-{fold}")
    kind = type(network)
    sha256 = write_bundle(
        bundle, {"_target_": f"{kind.__module__}.{kind.__qualname__}"}, network.state_dict(),
        _metadata(name, method, shown, steps, calibrations, measured),
        _card(name, method, shown, steps, found.get("dataset"), measured),
        dtype=torch.float16, overwrite=True)
    typer.echo(f"{bundle}: {sha256}")


def _metadata(name, method, shown, steps, calibrations, measured) -> dict:
    voi = {"type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1,
           "spatial_shape": [VOI] * 3, "dtype": "float32", "value_range": [],
           "is_patch_data": True, "channel_def": {"0": "density"}}
    answer = {"autoencoder": voi,
              "flow": voi | {"format": "probabilities", "spatial_shape": [VOI // 4] * 3,
                             "channel_def": {"0": "log-ratio of the likelihoods"}}}[method]
    return {
        "name": name,
        "version": "0.1.0",
        "task": "Unusual bone in one CT",
        "description": HOW_IT_WORKS[method],
        "authors": "ReadingRoom contributors",
        "copyright": "Apache-2.0",
        "recipe": method,
        "labels": {},
        "spacing": [VOXEL_MM] * 3,
        "trained_on": TRAINED_ON,
        "simulated": False,
        "patients": shown,
        "training_steps": steps,
        "calibrations": calibrations,
        "eval_metrics": measured,
        "network_data_format": {"inputs": {"image": voi}, "outputs": {"pred": answer}},
    }


def _card(name, method, shown, steps, dataset, measured) -> str:
    trained = ", ".join(f"{part} {count:,}" for part, count in steps.items())
    plans = {part: PLANS[part].data["size"] for part in steps}
    scores = [f"{dataset}, by models that were not shown the patient.", ""] if measured else []
    for score, values in measured.items():
        scores += [f"**{score}**", "", *(f"- {key.replace('_', ' ')}: {value}"
                                         for key, value in values.items()), ""]
    return (FOLDER / "anomaly_card.md").read_text("utf-8").format(
        name=name, how_it_works=fill(HOW_IT_WORKS[method], 100), patients=fill(
            f"Real CTs: {', '.join(shown)}.", 100),
        training=fill(f"Training steps: {trained}, of {max(plans.values())} cubes, AdamW, averaged "
                      "weights.", 100),
        scores="\n".join(scores).strip() or "Not measured.")


if __name__ == "__main__":
    app()

# SPDX-License-Identifier: Apache-2.0
"""Patients that models learn from and are measured on: what they have, their CT, their tag."""

from __future__ import annotations

from dataclasses import dataclass

from ReadingRoomLib.phantoms.head import HeadSettings, SimulatedHead, simulate_head
from ReadingRoomLib.phantoms.head_findings import Finding, Kind, draw_finding, other_side
from ReadingRoomLib.phantoms.head_template import HeadTemplate
from ReadingRoomLib.phantoms.randomness import Randomness

from .triage import Tag, tag_of

CONDITIONS: tuple[tuple[float, tuple[Kind, ...]], ...] = (
    (5.0, ()),
    (1.5, ("fracture",)),
    (1.5, ("subarachnoid",)),
    (2.0, ("infarct",)),
    (2.5, ("subdural",)),
    (1.0, ("epidural",)),
    (2.0, ("intraparenchymal",)),
    (0.7, ("intraventricular",)),
    (0.8, ("fracture", "epidural")),
    (1.0, ("fracture", "subdural", "subarachnoid")),
    (2.0, ("intraparenchymal", "intraventricular")),
    (0.5, ("subdural", "intraparenchymal")),
    (0.7, ("subdural", "subdural")),
)
"""How often each occurs, as weights, and what is found: nothing, a fall, a stroke, an aneurysm."""
CALCIFIED = 0.45  # share of heads with calcium that means nothing
BOTH_SIDES = 0.8  # share of these where it is on both, if it is at a side
SETTINGS = HeadSettings(spacing=(4.0, 1.2, 1.2))
"""Voxels as thick as slices of heads usually are: half as many, in half the time."""


@dataclass(frozen=True)
class SimulatedPatient:
    """A simulated patient.

    Attributes:
        head: the CT, and what it shows.
        findings: what was put into it.
        tag: by the rules of :mod:`.triage`.
    """

    head: SimulatedHead
    findings: tuple[Finding, ...]
    tag: Tag


def simulated_patient(template: HeadTemplate, seed: tuple[int, ...],
                      settings: HeadSettings | None = None) -> SimulatedPatient:
    """Draw what a patient has, simulate the CT, tag it.

    Args:
        template: average head.
        seed: the same numbers give the same patient.
        settings: of the simulation; None: :data:`SETTINGS`.
    """
    random = Randomness(*seed, 1)
    findings = draw_findings(template, random)
    head = simulate_head(template, findings, (*seed, 2), settings or SETTINGS)
    return SimulatedPatient(head, findings, tag_of(head, findings))


def draw_findings(template: HeadTemplate, random: Randomness) -> tuple[Finding, ...]:
    """What one patient has, by the weights of :data:`CONDITIONS`."""
    weights = [weight for weight, _ in CONDITIONS]
    condition = random.numpy.choice(len(weights), p=[weight / sum(weights) for weight in weights])
    kinds: tuple[Kind, ...] = CONDITIONS[condition][1]
    findings = [draw_finding(kind, template, random) for kind in kinds]
    if random.chance(CALCIFIED):
        calcium = draw_finding("calcification", template, random)
        findings.append(calcium)
        if random.chance(BOTH_SIDES) and (other := other_side(calcium, random)):
            findings.append(other)
    return tuple(findings)

# SPDX-License-Identifier: Apache-2.0
"""Which patients come into a database, with which study, as far as headers and pathology tell."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from .database_archive import Archive, Examination, ImageSeries, PatientFiles
from .database_key import Key
from .database_pathology import Finding, Pathology
from .sequences import NAMES, SEQUENCES, Choice, assign


@dataclass
class Plan:
    """What is to be done with a patient.

    Attributes:
        number: under which the patient leaves.
        identifier: PatientID.
        kind: of the tumour; empty where it is not known.
        site: as it is called in the list; empty where it is not known.
        study: that was chosen; None where none was.
        candidates: by sequence, the series that could be it, the best first, and how sure that is.
        left_out: why the patient is; empty when it is not.
        doubts: sentences for the quality list.
    """

    number: str
    identifier: str = field(repr=False)
    kind: str = ""
    site: str = ""
    study: Examination | None = field(default=None, repr=False)
    candidates: dict[str, list[tuple[ImageSeries, str]]] = field(default_factory=dict, repr=False)
    left_out: str = ""
    doubts: list[str] = field(default_factory=list)


def plan_patients(archive: Archive, pathology: Pathology, matched: Mapping[str, str], key: Key,
                  site: str = "") -> list[Plan]:
    """What is to be done with each patient, by their numbers.

    Args:
        matched: number in the table by PatientID.
        key: gives numbers, and gets the sites.
        site: of patients of whom the table gives none; by default by the institution that images
            name.
    """
    key.number(archive.patients)
    shared, same = archive.shared_studies(), archive.same_persons()
    findings = {one: pathology.findings[matched[one]] for one in archive.patients if one in matched}
    plans, sites = [], {}
    for identifier, patient in archive.patients.items():
        plan = Plan(key.numbers[identifier], identifier)
        finding = findings.get(identifier)
        if identifier in same:
            others = ", ".join(sorted(key.numbers[other] for other in same[identifier]))
            plan.doubts.append(f"May be the same person as {others}: name and date of birth are "
                               "the same.")
        if any(uid in shared for uid in patient.studies):
            plan.left_out = "A study stands under more than one patient number."
        elif finding is None:
            plan.left_out = "There is no pathology in the table."
        else:
            try:
                _fill(plan, patient, finding)
            except Exception:  # over damaged values pydicom raises a dozen kinds
                plan.study, plan.left_out = None, "The headers cannot be understood."
        sites[identifier] = ((finding.site if finding else "") or site
                             or (plan.study.institution if plan.study else ""))
        plans.append(plan)
    key.name_sites(filter(None, (name for name in sites.values() if name != site)))
    for plan in plans:
        name = sites[plan.identifier]
        plan.site = site if name == site else key.sites.get(name, "")
    return sorted(plans, key=lambda plan: int(plan.number))


def _fill(plan: Plan, patient: PatientFiles, finding: Finding) -> None:
    plan.kind = finding.kind
    plan.doubts += finding.doubts
    if not finding.kind:
        plan.left_out = finding.reason
        return
    choices = {uid: assign(series.recognised() for series in study.series.values())
               for uid, study in patient.studies.items()}
    usable = {uid: found for uid, found in choices.items()
              if any(choice.series for choice in found.values())}
    if not usable:
        plan.left_out = ("No MR series was recognised as T1, T2 or contrast-enhanced T1."
                         + _others(patient))
        return
    complete = {uid for uid, found in usable.items()
                if all(choice.series for choice in found.values())}
    studies = [patient.studies[uid] for uid in complete or usable]
    plan.study, how = choose_study(studies, finding.date)
    if len(patient.studies) > 1 or plan.study is None:
        more = f"{len(patient.studies)} studies, of which {len(studies)} come into question. "
        plan.doubts.append((more if len(patient.studies) > 1 else "") + how)
    if plan.study is None:
        plan.left_out = how
        return
    if finding.date and plan.study.day == finding.date:
        plan.doubts.append("The study is of the day of pathology: check that it was before.")
    plan.candidates = _candidates(plan.study, usable[plan.study.uid], plan.doubts)


def choose_study(studies: list[Examination], pathology: datetime.date | None,
                 ) -> tuple[Examination | None, str]:
    """The last study before pathology, or the first where its day is not known; and a sentence."""
    in_order = sorted(studies, key=lambda one: (one.day or datetime.date.max, one.uid))
    if pathology is None:
        return in_order[0], "The first was taken."
    before = [one for one in in_order if one.day and one.day <= pathology]
    if before:
        return before[-1], "The last one before pathology was taken."
    if not any(one.day for one in in_order):
        return in_order[0], "Their days are not known; one was taken."
    return None, "All studies are after the day of pathology."


def _candidates(study: Examination, choices: Mapping[str, Choice], doubts: list[str],
                ) -> dict[str, list[tuple[ImageSeries, str]]]:
    by_path = {series.files[0]: series for series in study.series.values()}
    found: dict[str, list[tuple[ImageSeries, str]]] = {}
    for name in SEQUENCES:
        choice = choices[name]
        if choice.series is None:
            continue
        found[name] = [(by_path[str(one.path)], one.recognition.certainty)
                       for one in (choice.series, *choice.others)]
        if choice.others:
            doubts.append(f"{1 + len(choice.others)} series could be {NAMES[name]}.")
    return found


def _others(patient: PatientFiles) -> str:
    found = sum((study.others for study in patient.studies.values()), Counter())
    listed = ", ".join(f"{kind} ({count})" for kind, count in sorted(found.items()))
    return f" There were {listed}." if listed else ""

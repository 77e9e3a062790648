# SPDX-License-Identifier: Apache-2.0
"""A reader study from workbook or study folder to result folder: report, tables, curves."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from ReadingRoomLib.commands import Job
from ReadingRoomLib.pages import page, table

from .analysis import Estimate, Inference, ObuchowskiRockette, obuchowski_rockette
from .conduct import Answer
from .figures_of_merit import Figure, curve
from .folder import StudyFolder
from .study import ReaderStudy
from .workbook import read_workbook, write_workbook

AXES = {
    Figure.ROC: ("False positive fraction", "True positive fraction"),
    Figure.FROC: ("False marks per case", "Share of lesions found"),
    Figure.AFROC: ("Share of healthy cases with a false mark", "Share of lesions found"),
    Figure.WAFROC: ("Share of healthy cases with a false mark",
                    "Weighted share of lesions found"),
}
HOLDS_FOR = {
    "readers and cases": "for other readers and other cases like these",
    "cases": "for these readers and other cases like these",
    "readers": "for other readers like these and these cases",
}
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")  # told apart by the colour blind
SVG = 'xmlns="http://www.w3.org/2000/svg"'


def run(job: Job, source: Path, truth: Path | None, figure: str | None) -> None:
    """Analyse a workbook or a study folder and write everything into the job's folder.

    Args:
        job: gets files and the manifest's entries.
        source: see :func:`read_workbook` and :class:`StudyFolder`.
        truth: see :func:`read_truth`; for a study folder.
        figure: name of a :class:`Figure`; None takes the one that suits the study.

    Raises:
        BadInput: the workbook or folder cannot be read or is no complete study.
    """
    job.progress.stage("analyse", 3, "Reading the ratings")
    if truth is None:
        study, said = read_workbook(source), []
    else:
        study, said = _collect(job, StudyFolder(source), truth)
    job.progress.advance(1)
    chosen = Figure(figure) if figure else (Figure.WAFROC if study.free_response else Figure.ROC)
    if chosen == Figure.FROC:
        job.warn("The area under the FROC curve grows with the number of false marks: look at it, "
                 "but compare modalities by wAFROC.")
    if not study.free_response and chosen != Figure.ROC:
        job.warn(f"In this study cases were rated and no places marked: {chosen} says no more than "
                 "ROC.")
    result = obuchowski_rockette(study, chosen)
    job.progress.advance(2)
    curves = {(modality, reader): curve(study, chosen, i, j)
              for i, modality in enumerate(study.modalities)
              for j, reader in enumerate(study.readers)}
    files = {"figures_of_merit": "figures_of_merit.csv", "comparisons": "comparisons.csv",
             "curves": "curves.csv", "picture": "curves.svg", "report": "report.html"}
    _write_csv(job.folder / files["figures_of_merit"],
               ("modality", "reader", str(chosen), "standard_error", "low", "high"),
               ((study.modalities[i], study.readers[j], e.value, e.standard_error, e.low, e.high)
                for i, row in enumerate(result.areas) for j, e in enumerate(row)))
    _write_csv(job.folder / files["comparisons"],
               ("population", "difference", "value", "standard_error", "degrees_of_freedom",
                "statistic", "p", "low", "high"),
               ((i.population, e.name, e.value, e.standard_error, e.freedom, e.statistic, e.p,
                 e.low, e.high) for i in result.inferences for e in i.differences))
    _write_csv(job.folder / files["curves"], ("modality", "reader", "x", "y"),
               ((*names, *point) for names, points in curves.items()
                for point in zip(*points, strict=True)))
    picture = _picture(study, result.figure, curves)
    # a file of its own must say that it is SVG; inside a page nothing may
    (job.folder / files["picture"]).write_text(picture.replace("<svg", f"<svg {SVG}", 1), "utf-8")
    (job.folder / files["report"]).write_text(_page(study, result, picture, said), "utf-8")
    job.record(files=files, study=_size(study), figure=str(chosen),
               sentences=[_sentence(e, i) for i in result.inferences for e in i.differences])
    job.progress.advance(3)


def _collect(job: Job, folder: StudyFolder, truth: Path) -> tuple[ReaderStudy, list[str]]:
    """The study that was read in a folder, and what else was said, as parts of the page."""
    study = folder.collect(truth)
    answers = {reader: folder.log(reader).answers for reader in folder.plan.readers}
    files = {"ratings": "ratings.xlsx", "readings": "readings.csv"}
    write_workbook(study, job.folder / files["ratings"])
    _write_csv(job.folder / files["readings"],
               ("reader", "patient", "modality", "marks", "rating", "quality", "seconds",
                "finished"),
               ((reader, a.case, a.modality, len(a.marks), a.rating, a.quality, a.seconds,
                 a.finished) for reader, given in answers.items() for a in given))
    job.record(files=files)
    every = [answer for given in answers.values() for answer in given]
    return study, ["<h2>Reading</h2>",
                   _reading_table(every, folder.plan.modalities, folder.plan.quality)]


def _write_csv(path: Path, heading: Sequence[str], rows: Iterable[Sequence]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        for row in rows:
            writer.writerow([f"{v:.8g}" if isinstance(v, float) else v for v in row])


def _size(study: ReaderStudy) -> dict:
    return {"modalities": len(study.modalities), "readers": len(study.readers),
            "diseased_cases": int(study.diseased.sum()),
            "healthy_cases": int((~study.diseased).sum()),
            "paradigm": "FROC" if study.free_response else "ROC"}


def _sentence(estimate: Estimate, inference: Inference) -> str:
    interval = f"95 % interval {estimate.low:+.3f} to {estimate.high:+.3f}"
    return (f"Difference {estimate.name}: {estimate.value:+.3f} ({interval}, {_p(estimate.p)}), "
            f"{HOLDS_FOR[inference.population]}.")


def _p(p: float) -> str:
    if math.isnan(p):
        return "not tested: no variation"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


# --- the page ------------------------------------------------------------------------------------


def _page(study: ReaderStudy, result: ObuchowskiRockette, picture: str,
          said: Sequence[str]) -> str:
    size = _size(study)
    body = [
        "<h1>Reader study</h1>",
        f"<p>{size['readers']} readers, {size['modalities']} modalities, {size['diseased_cases']} "
        f"diseased and {size['healthy_cases']} healthy cases. Figure of merit: area under the "
        f"{result.figure} curve.</p>",
        "<h2>Differences between modalities</h2>" if len(study.modalities) > 1 else "",
        *(f"<p>{escape(_sentence(e, i))}</p>" for i in result.inferences for e in i.differences),
        "<h2>Curves</h2>",
        picture,
        "<h2>Each reader</h2>",
        _reader_table(study, result),
        "<h2>Mean over the readers</h2>",
        _mean_table(study, result),
        *said,
        "<h2>Variances</h2>",
        _variance_table(result),
        "<p>Obuchowski and Rockette's analysis of variance with jackknife covariances and the "
        "degrees of freedom of Hillis (2007). Variances are estimates and may be below 0.</p>",
    ]
    return page("Reader study", body)


def _with_interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _reader_table(study: ReaderStudy, result: ObuchowskiRockette) -> str:
    pairs = [e.name for e in result.inferences[0].differences]
    rows = ([reader, *(_with_interval(row[j]) for row in result.areas),
             *(f"{e.value:+.3f} ({_p(e.p)})" for e in result.readers[reader])]
            for j, reader in enumerate(study.readers))
    return table(["reader", *study.modalities, *pairs], rows)


def _mean_table(study: ReaderStudy, result: ObuchowskiRockette) -> str:
    rows = ([HOLDS_FOR[i.population], *(_with_interval(e) for e in i.means)]
            for i in result.inferences)
    return table(["interval", *study.modalities], rows)


def _reading_table(answers: Sequence[Answer], modalities: Sequence[str],
                   quality: Sequence[str]) -> str:
    """Time for a case, and how often the images were of which quality."""
    rows = []
    for modality in modalities:
        given = [answer for answer in answers if answer.modality == modality]
        low, middle, high = np.percentile([answer.seconds for answer in given], (25, 50, 75))
        counts = [sum(answer.quality == word for answer in given) for word in quality]
        rows.append([modality, f"{middle:.0f} ({low:.0f} to {high:.0f})",
                     *(f"{count} ({100 * count / len(given):.1f} %)" for count in counts)])
    return table(["modality", "seconds for a case (quartiles)",
                  *(f"images {word}" for word in quality)], rows)


def _variance_table(result: ObuchowskiRockette) -> str:
    error = result.components
    values = {
        "readers": result.reader_variance,
        "readers with modalities": result.interaction_variance,
        "error": error.error,
        "covariance, one reader in two modalities": error.modalities,
        "covariance, two readers in one modality": error.readers,
        "covariance, two readers in two modalities": error.both,
    }
    return table(["component", "estimate"],
                  ([name, f"{value:.6f}"] for name, value in values.items() if value == value))


WIDTH, HEIGHT, MARGIN = 620, 520, 70


def _picture(study: ReaderStudy, figure: Figure, curves: dict) -> str:
    """The curves of all readers as SVG, a colour for each modality."""
    widest = max(1.0, *(float(x.max()) for x, _ in curves.values()))
    inner = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def place(x: float, y: float) -> str:
        return (f"{MARGIN + inner[0] * x / widest:.1f},"
                f"{HEIGHT - MARGIN - inner[1] * y:.1f}")

    def text(x: float, y: float, words: str, more: str = "") -> str:
        return f'<text x="{x:.0f}" y="{y:.0f}" {more}>{escape(words)}</text>'

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
             'font-family="sans-serif" font-size="13" fill="#222">']
    for share in np.linspace(0, 1, 6):
        ends = (((0, share), (widest, share)), ((share * widest, 0), (share * widest, 1)))
        parts += [f'<polyline points="{place(*a)} {place(*b)}" stroke="#ddd" fill="none"/>'
                  for a, b in ends]
        x, y = place(share * widest, share).split(",")
        parts += [text(MARGIN - 8, float(y) + 4, f"{share:.1f}", 'text-anchor="end"'),
                  text(float(x), HEIGHT - MARGIN + 20, f"{share * widest:.1f}",
                       'text-anchor="middle"')]
    for (modality, reader), points in curves.items():
        color = COLORS[study.modalities.index(modality) % len(COLORS)]
        line = " ".join(place(*point) for point in zip(*points, strict=True))
        parts.append(f'<polyline points="{line}" stroke="{color}" stroke-width="1.8" fill="none" '
                     f'opacity="0.8"><title>{escape(f"{modality}, {reader}")}</title></polyline>')
    for i, modality in enumerate(study.modalities):
        color = COLORS[i % len(COLORS)]
        y = HEIGHT - MARGIN - 16 - 20 * (len(study.modalities) - 1 - i)
        parts += [f'<rect x="{WIDTH - MARGIN - 150}" y="{y - 9}" width="18" height="4" '
                  f'fill="{color}"/>', text(WIDTH - MARGIN - 126, y - 2, modality)]
    across, up = AXES[figure]
    parts += [text(WIDTH / 2, HEIGHT - 18, across, 'text-anchor="middle"'),
              text(0, 0, up, f'text-anchor="middle" transform="translate(20 {HEIGHT / 2}) '
                             'rotate(-90)"'), "</svg>"]
    return "\n".join(parts)

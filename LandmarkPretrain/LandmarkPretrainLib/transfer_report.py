# SPDX-License-Identifier: Apache-2.0
"""The comparison for people: what was found in a sentence, tables, a page that needs nothing else.

All of it is drawn from what ``result.json`` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ReadingRoomLib import pages
from ReadingRoomLib.estimates import Estimate

from .arms import TITLES
from .transfer_fits import CLASSIFIERS

PUBLISHED = {
    "source": "Nemoto, KAKENHI 17K17680 (2017-2019)",
    "finding": "Head MR angiograms, 100 cases to learn from and 50 to test on, patches of "
               "aneurysms and of normal vessels, AdaBoost on the features of a frozen mini-VGG: "
               "with few weak learners about 10 % higher area under the curve for features that "
               "learned landmarks than for those that learned CIFAR-10, with many no significant "
               "difference. Published without intervals, and without arms for ImageNet and for "
               "random weights.",
}
FEW, MANY = 10, 100  # weak learners: up to, and from
ALPHA = 0.05


def name_of(arm: str) -> str:
    return TITLES.get(arm, arm)


# ------------------------------------------------------------------------------------------- words


def finding(found: Mapping[str, Any]) -> list[str]:
    """What the comparison shows, a sentence for each pair with the first arm."""
    said = []
    first = next(iter(found["areas"]))
    for other in list(found["areas"])[1:]:
        here = [each for each in found["comparisons"] if each["pair"] == [first, other]]
        if found["classifier"] != "adaboost":
            said.append(_one(here[0], first, other))
            continue
        parts = [_group([each for each in here if each["learners"] <= FEW], "few", first, other),
                 _group([each for each in here if each["learners"] >= MANY], "many", first, other)]
        said.append("; ".join(filter(None, parts)) + ".")
    return said


def _one(comparison: Mapping[str, Any], first: str, other: str) -> str:
    difference = Estimate.read(comparison["difference"])
    verdict = "the interval leaves out 0" if _sure(difference) else (
        "the interval includes 0, so no difference is shown")
    return (f"{_signed(difference)} in area between {name_of(first)} and {name_of(other)}: "
            f"{verdict}.")


def _group(comparisons: Sequence[Mapping[str, Any]], size: str, first: str, other: str) -> str:
    """What holds for few, or for many, weak learners."""
    if not comparisons:
        return ""
    estimates = {each["learners"]: Estimate.read(each["difference"]) for each in comparisons}
    mean = sum(each.value for each in estimates.values()) / len(estimates)
    numbers = _listed(list(estimates))
    text = (f"with {size} weak learners ({numbers}) the area of {name_of(first)} was on average "
            f"{abs(mean):.3f} {'higher' if mean >= 0 else 'lower'} than that of {name_of(other)}, ")
    sure = {number: each for number, each in estimates.items() if _sure(each)}
    if not sure:
        return text + "and every 95 % interval of the difference includes 0, so none is shown"
    shown = [f"{way} with {_listed(which)}" for way, which in (
        ("higher", [number for number, each in sure.items() if each.value > 0]),
        ("lower", [number for number, each in sure.items() if each.value < 0])) if which]
    adjusted = [each["learners"] for each in comparisons
                if each["p"]["holm"] is not None and each["p"]["holm"] < ALPHA]
    return text + (f"the 95 % interval leaves out 0 where it was {' and '.join(shown)}, and p, "
                   f"adjusted for all comparisons, is below {ALPHA} with "
                   f"{_listed(adjusted) if adjusted else 'none'}")


def _listed(numbers: Sequence[int]) -> str:
    texts = [str(number) for number in numbers]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _sure(difference: Estimate) -> bool:
    """Whether the 95 % interval leaves out 0; False where there is none."""
    return difference.low > 0 or difference.high < 0


def _signed(each: Estimate) -> str:
    return f"{each.value:+.3f} ({each.low:+.3f} to {each.high:+.3f})"


def _p(value: float | None, difference: float) -> str:
    if value is None:  # the difference does not vary, whatever it is
        return "alike" if abs(difference) < 1e-9 else "cannot be measured"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def lines(found: Mapping[str, Any]) -> list[str]:
    """What a person wants to know at once."""
    n = found["data"]["test"]
    said = [f"{n['lesions']} lesions of {n['patients']} test patients, "
            f"{found['data']['test_patches']['normal']} normal patches; area under the ROC curve "
            "(95 % interval):"]
    for arm, curve in found["areas"].items():
        shown = [f"{number}: {Estimate.read(curve[number - 1])}"
                 for number in _few_of(found["compared"])]
        said.append(f"  {name_of(arm):15} {'  '.join(shown)}")
    return [*said, *(f"  {sentence[0].upper()}{sentence[1:]}" for sentence in finding(found))]


def _few_of(numbers: Sequence[int]) -> list[int]:
    """First, middle and last."""
    return list(dict.fromkeys([numbers[0], numbers[len(numbers) // 2], numbers[-1]]))


# -------------------------------------------------------------------------------------------- page


def page(found: Mapping[str, Any], folder: Path, pictures: Mapping[str, str],
         warnings: Sequence[str]) -> str:
    """The report as one HTML page, pictures inside.

    Args:
        found: what was measured.
        folder, pictures: files of the pictures ``areas``, ``efficiency`` and ``free_response``.
        warnings: shown at the top.
    """
    body = [
        "<h1>Learn anatomy first, lesions after: what does it bring here?</h1>",
        *(f'<p class="note">{escape(warning)}</p>' for warning in warnings),
        f"<p>{escape(_data(found))}</p>",
        *(f"<p><strong>{escape(sentence[0].upper() + sentence[1:])}</strong></p>"
          for sentence in finding(found)),
        f"<p>Published: {escape(PUBLISHED['finding'])} ({escape(PUBLISHED['source'])}.) These are "
        "other images and another network, so the published finding stands beside ours, not "
        "against it.</p>",
        "<h2>Lesion or normal?</h2>",
        f"<p>Area under the ROC curve of test patches, {escape(CLASSIFIERS[found['classifier']])}. "
        "Shaded: 95 % intervals, DeLong's method for patches that belong together by patient "
        "(Obuchowski 1997), on the logit scale. All intervals are for other patients like the "
        "tested ones, with detectors as they were fitted.</p>",
        pages.picture(folder / pictures["areas"], "Areas by number of weak learners"),
        _areas(found),
        *_comparisons(found),
        *_efficiency(found, folder, pictures),
        *_free_response(found, folder, pictures),
        "<h2>How it was done</h2>",
        *_methods(found),
    ]
    return pages.page("Transfer to lesions", body)


def _data(found: Mapping[str, Any]) -> str:
    data = found["data"]
    kind = ("The list says that the patients are simulated, so nothing here is about real ones. "
            if data["simulated"] else "")
    training, test = data["training"], data["test"]

    def said(part: Mapping[str, Any]) -> str:
        sizes = part["diameter_mm"]
        span = (f", {sizes[0]:.1f} to {sizes[2]:.1f} mm wide, median {sizes[1]:.1f} mm"
                if sizes else "")
        return (f"{part['cases']} cases of {part['patients']} patients ({part['lesions']} lesions"
                f"{span}; {part['cases_without_lesion']} cases without)")

    return (f"{kind}Learned from {said(training)}, tested on {said(test)}; no patient is in both "
            f"({data['split']}). The tests are on {data['test_patches']['lesion']} patches of "
            f"lesions and {data['test_patches']['normal']} normal ones.")


def _areas(found: Mapping[str, Any]) -> str:
    compared = found["compared"]
    heading = ["arm", *(f"{number} weak learner{'s' if number > 1 else ''}" for number in compared)
               ] if found["classifier"] == "adaboost" else ["arm", "area"]
    return pages.table(heading, ([name_of(arm), *(str(Estimate.read(curve[number - 1]))
                                                  for number in compared)]
                                 for arm, curve in found["areas"].items()))


def _comparisons(found: Mapping[str, Any]) -> list[str]:
    if not found["comparisons"]:
        return []
    boosted = found["classifier"] == "adaboost"
    rows = []
    for each in found["comparisons"]:
        p, difference = each["p"], Estimate.read(each["difference"])
        rows.append([" - ".join(map(name_of, each["pair"])),
                     *([str(each["learners"])] if boosted else []), _signed(difference),
                     *(_p(p[test], difference.value)
                       for test in ("delong", "clustered", "bootstrap", "holm"))])
    return [
        "<h2>Do the arms differ?</h2>",
        "<p>Differences with 95 % intervals by drawing patients again, the same for both arms. "
        "Three p-values: DeLong's paired test takes all patches for independent, which those of a "
        "patient are not; the clustered test and the bootstrap allow for that. The last column is "
        f"the clustered one, adjusted for all {len(found['comparisons'])} comparisons of this "
        "table (Holm); it is the one to go by.</p>",
        pages.table(["pair", *(["weak learners"] if boosted else []), "difference in area",
                     "p, DeLong", "p, clustered", "p, bootstrap", "p, clustered, Holm"], rows)]


def _efficiency(found: Mapping[str, Any], folder: Path, pictures: Mapping[str, str]) -> list[str]:
    measured = found.get("efficiency")
    if not measured:
        return []
    sizes = list(next(iter(measured["areas"].values())))
    first = next(iter(measured["areas"]))
    rows = [[name_of(arm), *(str(Estimate.read(of_arm[size])) for size in sizes)]
            for arm, of_arm in measured["areas"].items()]
    rows += [[f"{name_of(first)} - {name_of(other)}",
              *(_signed(Estimate.read(gains[size])) for size in sizes)]
             for other, gains in measured["differences"].items()]
    learners = (f" with {measured['learners']} weak learners"
                if found["classifier"] == "adaboost" else "")
    return [
        "<h2>How many patients does it take?</h2>",
        f"<p>Area{learners} after fewer training patients: mean of {measured['draws']} random "
        "draws, in which fewer patients are always some of more; the same draws for all arms. All "
        "patients are one draw. Intervals over draws and test patients.</p>",
        pages.picture(folder / pictures["efficiency"], "Area by number of training patients"),
        pages.table(["arm", *(f"{size} patients" for size in sizes)], rows)]


def _free_response(found: Mapping[str, Any], folder: Path,
                   pictures: Mapping[str, str]) -> list[str]:
    measured = found["free_response"]
    if measured is None:
        return []
    arms = measured["arms"]
    rates = list(next(iter(arms.values()))["sensitivity"])
    rows = [[name_of(arm), *(str(Estimate.read(each["sensitivity"][rate])) for rate in rates),
             str(Estimate.read(each["mean_sensitivity"]))] for arm, each in arms.items()]
    return [
        "<h2>On whole volumes</h2>",
        f"<p>Candidates of {measured['cases']} test volumes, {measured['candidates']} altogether, "
        f"on {measured['reached']} of {measured['lesions']} lesions; the others cannot be found. "
        "Sensitivity at so many false marks per case, and their mean (CPM), with 95 % intervals by "
        "drawing patients again.</p>",
        pages.picture(folder / pictures["free_response"], "Free-response curves"),
        pages.table(["arm", *(f"{rate} per case" for rate in rates), "mean"], rows)]


def _methods(found: Mapping[str, Any]) -> list[str]:
    settings = found["settings"]
    sizes = " and ".join(f"{size:g}" for size in settings["sizes_mm"])
    arms = "".join(f"<li>{escape(name_of(arm))}: {escape(said)}.</li>"
                   for arm, said in found["arms"].items())
    return [
        f"<p>Region: {escape(str(settings['region']))}. Three orthogonal planes of {sizes} mm and "
        f"32 by 32 pixels through each point. Up to {settings['normals']} normal places of each "
        f"case; each lesion {1 + settings['copies']} times in training, shifted, turned and scaled "
        f"a little, once in the test. Seed {settings['seed']}. Nothing was chosen by what test "
        "cases showed.</p>",
        f"<ul>{arms}</ul>",
        "<p>Features are put to mean 0 and deviation 1 as they have in the training cases of each "
        "fit. AdaBoost begins with equal weight for both classes; one fit gives the scores of all "
        "numbers of weak learners.</p>"]

# SPDX-License-Identifier: Apache-2.0
"""The experiment for people: a page that needs nothing else, its pictures, lines for a terminal.

All of it is drawn from what ``experiment.json`` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ReadingRoomLib import pages
from ReadingRoomLib.estimates import Estimate

from .experiment_patients import LEARNING_RATE, MODERN, PASSES, TITLE
from .published_networks import PUBLISHED
from .training_slices import STEP_PATIENTS, STEP_SLICES

PUBLISHED_RESULTS = {
    "source": "Kunimatsu, KAKENHI 18K07629 (2018-2022)",
    "split": "by image, ten random 7:3 splits; 878 glioblastoma, 1323 lymphoma and 1152 meningioma "
             "images of at most 288 patients",
    "accuracy": {
        "alexnet": {"median": 0.962, "lower_quartile": 0.953, "upper_quartile": 0.969},
        "googlenet": {"median": 0.925, "lower_quartile": 0.922, "upper_quartile": 0.934},
        "resnet50": {"median": 0.904, "lower_quartile": 0.900, "upper_quartile": 0.911},
    },
    "anova": {"F": 56.18, "p": "p < 0.001"},
    "tukey": {"alexnet - googlenet": "p < 0.0001", "googlenet - resnet50": "p = 0.0004",
              "alexnet - resnet50": "p < 0.0001"},
}
NAMES = {"patient": "split by patient", "image": "split by image (leaks)"}
COLORS = {"published": "#666666", "image": "#d55e00", "patient": "#0072b2"}
OURS = (
    f"<p>{TITLE} looks at all slices of a patient at once and answers for the patient; each tested "
    "image has its patient's answer. It has a recipe of its own: steps of "
    f"{STEP_PATIENTS} patients with {STEP_SLICES} slices each, learning rate {LEARNING_RATE:g}, "
    f"{PASSES} passes through the patients where the number of steps is not given.</p>")
LEVELS = {"images": "single images", "patients": "patients (mean of their images)"}


def check_drawing() -> None:
    """Raise ModuleNotFoundError where the pictures cannot be drawn."""
    import matplotlib  # noqa: F401


def title_of(model: str) -> str:
    if model == MODERN:
        return TITLE
    return PUBLISHED[model].title if model in PUBLISHED else model


# ------------------------------------------------------------------------------------------- words


def lines(found: Mapping[str, Any]) -> list[str]:
    """What a person wants to know at once."""
    said = []
    for split, of_split in found["splits"].items():
        said.append(f"{NAMES[split].capitalize()}, {found['repeats']} repetitions, accuracy "
                    "(95 % interval by patient):")
        for model, of_model in of_split["models"].items():
            images, patients = (Estimate.read(of_model[level]["accuracy"]) for level in LEVELS)
            said.append(f"  {title_of(model):13} single images {images.per_cent()}, patients "
                        f"{patients.per_cent()}, n = {images.n} patients")
    for model, levels in found.get("inflation", {}).items():
        gain = Estimate.read(levels["images"])
        said.append(f"  {title_of(model):13} splitting by image adds {_points(gain)}")
    return said


def _points(gain: Estimate) -> str:
    return gain.per_cent("+").replace(" %", " percentage points")


def _median(values: Mapping[str, float]) -> str:
    return (f"{100 * values['median']:.1f} ({100 * values['lower_quartile']:.1f} to "
            f"{100 * values['upper_quartile']:.1f})")


def _p(p: float | None) -> str:
    if p is None:
        return "not tested: no variation"
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"


# -------------------------------------------------------------------------------------------- page


def page(found: Mapping[str, Any], folder: Path, files: Mapping[str, str],
         warnings: Sequence[str]) -> str:
    """The report as one HTML page, pictures inside.

    Args:
        found: what ``experiment.json`` says.
        folder, files: where the pictures ``box_plot`` and ``calibration`` are.
        warnings: shown at the top.
    """
    body = [
        "<h1>Which kind of brain tumour? The published experiment on these images</h1>",
        *(f'<p class="note">{escape(warning)}</p>' for warning in warnings),
        *(f"<p>{sentence}</p>" for sentence in _summary(found)),
        "<h2>Accuracy of single images</h2>",
        "<p>Median over the repetitions, quartiles in brackets, in per cent, as it was published. "
        "The published numbers are of other images; they stand beside ours, not against them.</p>",
        _accuracy_table(found),
        pages.picture(folder / files["box_plot"], "Accuracies of all repetitions as box plots"),
        *_inflation(found),
        "<h2>Do the networks differ?</h2>",
        "<p>Analysis of variance and Tukey's test, which were published, take the repetitions for "
        "independent. They are not, because the random splits overlap, so these p-values are too "
        "small. The corrected resampled t-test (Nadeau and Bengio) allows for the overlap; its "
        "p-values are adjusted for several pairs (Holm). It is the one to go by.</p>",
        *(part for split in found["splits"] for part in _tests(found, split)),
        "<h2>More than accuracy</h2>",
        "<p>Means over the repetitions with 95 % intervals by resampling patients: what to expect "
        "of other patients like these with networks trained as these were. Balanced accuracy is "
        "the mean of the sensitivities of all classes, so that frequent classes count no more than "
        "rare ones. The area under the ROC curve is that of each class against the others, "
        "averaged.</p>",
        *(part for split in found["splits"] for part in _scores(found, split)),
        "<h2>Can the probabilities be believed?</h2>",
        "<p>Of images to which a network gives its answer with 80 %, 80 % should be right: "
        "points on the dashed line. Points below it mean that the network is too sure of itself. "
        "Large points stand for many answers. The calibration error in the tables above is the "
        "mean distance from that line.</p>",
        pages.picture(folder / files["calibration"], "Reliability curves"),
        "<h2>How it was done</h2>",
        *_methods(found),
    ]
    return pages.page("Brain tumour experiment", body)


def _summary(found: Mapping[str, Any]) -> list[str]:
    said = []
    classes = found["classes"]
    told = ", ".join(classes[:-1]) + f" and {classes[-1]}"
    for split, of_split in found["splits"].items():
        best = max(of_split["models"], key=lambda model: of_split["models"][model]["images"][
            "accuracy"]["value"])
        levels = of_split["models"][best]
        images, patients = (Estimate.read(levels[level]["accuracy"]) for level in LEVELS)
        text = (f"{title_of(best)} told {escape(told)} apart in {images.per_cent()} of the single "
                f"images and in {patients.per_cent()} of the patients that were tested, "
                f"{NAMES[split]}.")
        if of_split["leaks"]:
            text = (f'<span class="marked">{text} The network had seen other images of these '
                    "patients, so do not expect this of new ones.</span>")
        said.append(text)
    return said


def _accuracy_table(found: Mapping[str, Any]) -> str:
    splits = [split for split in ("image", "patient") if split in found["splits"]]
    models = dict.fromkeys([*PUBLISHED_RESULTS["accuracy"], *next(
        iter(found["splits"].values()))["models"]])
    rows = []
    for model in models:
        row = [title_of(model)]
        known = PUBLISHED_RESULTS["accuracy"].get(model)
        row.append(_median(known) if known else "")
        for split in splits:
            measured = found["splits"][split]["models"].get(model)
            row.append(_median(measured["images"]) if measured else "not trained")
        rows.append(row)
    heading = ["network", "published, split by image (leaks)",
               *(f"ours, {NAMES[split]}" for split in splits)]
    leaking = [1, *(2 + number for number, split in enumerate(splits) if split == "image")]
    return pages.table(heading, rows, leaking) + (
        f"<p>Published: {escape(PUBLISHED_RESULTS['source'])}, "
        f"{escape(PUBLISHED_RESULTS['split'])}.</p>")


def _inflation(found: Mapping[str, Any]) -> list[str]:
    if "inflation" not in found:
        return []
    rows = ([title_of(model), *(_points(Estimate.read(levels[level])) for level in LEVELS)]
            for model, levels in found["inflation"].items())
    return ["<h2>What splitting by image adds</h2>",
            "<p>Accuracy split by image minus accuracy split by patient, on the same images, with "
            "95 % intervals by resampling patients. This much of the accuracy comes from knowing "
            "the patient and not the tumour.</p>",
            pages.table(["network", *LEVELS.values()], rows)]


def _tests(found: Mapping[str, Any], split: str) -> list[str]:
    of_split = found["splits"][split]
    variance = of_split["anova"]
    if variance is None:
        return [f"<h3>Ours, {NAMES[split]}</h3>",
                "<p>There is nothing to test: one network, or accuracies that do not vary.</p>"]
    parts = [f"<h3>Ours, {NAMES[split]}</h3>",
             f"<p>Analysis of variance: F = {variance['F']:.2f}, {escape(_p(variance['p']))} "
             f"(published: F = {PUBLISHED_RESULTS['anova']['F']}, "
             f"{escape(PUBLISHED_RESULTS['anova']['p'])}).</p>"]
    honest = {tuple(each["pair"]): each for each in of_split["corrected"]}
    rows = []
    for each in of_split["tukey"]:
        pair = tuple(each["pair"])
        corrected = honest[pair]
        rows.append([" - ".join(map(title_of, pair)),
                     PUBLISHED_RESULTS["tukey"].get(" - ".join(pair), ""),
                     f"{_points(Estimate.read(each['difference']))}, {_p(each['p'])}",
                     f"{_points(Estimate.read(corrected['difference']))}, {_p(corrected['p'])}"])
    return [*parts, pages.table(["pair", "published, Tukey", "ours, Tukey (too optimistic)",
                            "ours, corrected"], rows)]


def _scores(found: Mapping[str, Any], split: str) -> list[str]:
    of_split = found["splits"][split]
    parts = []
    for level, meaning in LEVELS.items():
        models = of_split["models"]
        rows = []
        for name, key in (("accuracy", "accuracy"), ("balanced accuracy", "balanced_accuracy")):
            rows.append([name, *(Estimate.read(models[model][level][key]).per_cent()
                                 for model in models)])
        for name in found["classes"]:
            rows.append([f"sensitivity for {name}", *(
                Estimate.read(models[model][level]["sensitivity"][name]).per_cent()
                for model in models)])
        rows.append(["area under the ROC curve", *(
            str(Estimate.read(models[model][level]["macro_auc"])) for model in models)])
        rows.append(["calibration error", *(
            Estimate.read(models[model][level]["calibration_error"]).per_cent()
            for model in models)])
        tested = next(iter(models.values()))[level]["tested"]
        least, most = min(tested), max(tested)
        count = f"{least}" if least == most else f"{least} to {most}"
        leaks = ' class="marked"' if of_split["leaks"] else ""
        parts += [f"<h3{leaks}>{NAMES[split].capitalize()}: {meaning}, {count} in each "
                  "repetition</h3>",
                  pages.table(["", *map(title_of, models)], rows)]
    return parts


def _methods(found: Mapping[str, Any]) -> list[str]:
    recipe, data = found["recipe"], found["data"]
    counts = (f"{name}: {each['images']} images of {each['patients']} patients"
              for name, each in data["classes"].items())
    starts = (f"{title_of(model)}: {'random weights' if start == 'random' else start}"
              for model, start in found["start"].items())
    steps = f"{recipe['steps']} steps" if recipe["steps"] else "ten passes through the images"
    return [
        f"<p>{data['images']} images of {data['patients']} patients ({escape('; '.join(counts))}), "
        f"{found['pixels']} by {found['pixels']} pixels. {found['repeats']} random splits, "
        "seven tenths of each class to learn from and three tenths to test on; all networks had "
        "the same splits.</p>",
        f"<p>Each network was trained for {steps} of {recipe['batch']} images (AdamW, "
        f"learning rate {recipe['learning_rate']:g}, images mirrored and shifted at "
        f"random, averaged weights), seed {recipe['seed']}. Nothing was chosen by what the tested "
        f"images showed. Begun with: {escape('; '.join(starts))}. The publication does not say "
        "how long it trained, with which settings, and on which software.</p>",
        *([OURS] if MODERN in found["start"] else [])]


# ----------------------------------------------------------------------------------------- pictures


def draw_accuracies(found: Mapping[str, Any], path: Path) -> None:
    """Box plots of the accuracies of single images, published values beside them."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    splits = [split for split in ("image", "patient") if split in found["splits"]]
    models = list(found["splits"][splits[0]]["models"])
    figure = Figure(figsize=(1.6 + 2.1 * len(models), 4.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / (1 + len(splits))
    legend = {}
    for number, model in enumerate(models):
        known = PUBLISHED_RESULTS["accuracy"].get(model)
        if known:
            middle = 100 * known["median"]
            bar = axes.errorbar(
                number - 0.4 + width / 2, middle,
                [[middle - 100 * known["lower_quartile"]],
                 [100 * known["upper_quartile"] - middle]],
                fmt="D", color=COLORS["published"], capsize=6, markersize=6)
            legend["published, split by image (leaks): median and quartiles"] = bar
        for place, split in enumerate(splits, 1):
            values = [100 * value for value in found["splits"][split]["models"][model]["images"][
                "accuracy_by_repetition"]]
            x = number - 0.4 + width * (place + 0.5)
            box = axes.boxplot(values, positions=[x], widths=width * 0.7, patch_artist=True,
                               showfliers=False, manage_ticks=False,
                               medianprops={"color": "black", "linewidth": 1.6})
            box["boxes"][0].set(facecolor=COLORS[split], alpha=0.45, edgecolor=COLORS[split],
                                hatch="///" if split == "image" else None)
            offsets = [x + width * 0.22 * ((i % 5) / 2 - 1) for i in range(len(values))]
            axes.plot(offsets, values, ".", color=COLORS[split], markersize=5)
            legend[f"ours, {NAMES[split]}"] = Patch(facecolor=COLORS[split], alpha=0.45, hatch=(
                "///" if split == "image" else None))
    guessing, lowest = 100 / len(found["classes"]), axes.get_ylim()[0]
    if guessing > lowest - 15:
        axes.axhline(guessing, color="#999999", linestyle=":", linewidth=1)
        axes.text(len(models) - 0.55, guessing, "guessing", fontsize=8, va="bottom", ha="right",
                  color="#666666")
    axes.set_xticks(range(len(models)), [title_of(model) for model in models])
    axes.set_xlim(-0.55, len(models) - 0.45)
    axes.set_ylabel("accuracy of single images, %")
    axes.set_ylim(top=101)
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", fontsize=9,
                  frameon=False, ncols=1)
    figure.savefig(path, dpi=130)


def draw_calibration(found: Mapping[str, Any], path: Path) -> None:
    """Reliability curves of single images, one plot for each network."""
    from matplotlib.figure import Figure

    splits = [split for split in ("image", "patient") if split in found["splits"]]
    models = list(found["splits"][splits[0]]["models"])
    figure = Figure(figsize=(1 + 3.2 * len(models), 3.8), layout="constrained")
    for axes, model in zip(figure.subplots(1, len(models), squeeze=False, sharey=True)[0], models,
                           strict=True):
        axes.plot([0, 100], [0, 100], "--", color="#999999", linewidth=1)
        for split in splits:
            measured = found["splits"][split]["models"][model]["images"]
            bins = measured["reliability"]
            axes.plot([100 * each["probability"] for each in bins],
                      [100 * each["right"] for each in bins], "-", color=COLORS[split],
                      label=f"{NAMES[split]}, error "
                            f"{100 * measured['calibration_error']['value']:.1f} %")
            axes.scatter([100 * each["probability"] for each in bins],
                         [100 * each["right"] for each in bins],
                         [12 + 160 * each["share"] for each in bins], color=COLORS[split])
        axes.set(title=title_of(model), xlabel="probability of the answer, %",
                 xlim=(100 / len(found["classes"]) - 3, 103), ylim=(0, 104))
        axes.grid(color="#eeeeee")
        axes.set_axisbelow(True)
        axes.legend(loc="lower right", fontsize=8)
    figure.axes[0].set_ylabel("answers that are right, %")
    figure.savefig(path, dpi=130)

# SPDX-License-Identifier: Apache-2.0
"""Pictures of what was measured, for people who would rather look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

RATES = np.linspace(0.05, 8, 160)  # false positives a case
LARGEST_Z = 4.0


def draw_froc(sensitivity: Mapping[str, Callable[[float], float]], path: Path) -> None:
    """Free-response curves: share of lesions found against false positives a case.

    Args:
        sensitivity: by name of the method, the share found at a rate of false positives.
        path: of the PNG.
    """
    figure, axes = _figure()
    for name, found in sensitivity.items():
        axes.plot(RATES, [found(rate) for rate in RATES], label=name.replace("_", " "))
    axes.set(xlabel="false positives a case", ylabel="share of lesions found", xscale="log",
             xlim=(RATES[0], RATES[-1]), ylim=(0, 1.02))
    axes.set_xticks([0.1, 0.25, 0.5, 1, 2, 4, 8], ["0.1", "0.25", "0.5", "1", "2", "4", "8"])
    axes.legend(loc="lower right")
    _save(figure, path)


def draw_qq(z: Mapping[str, Mapping[str, np.ndarray]], path: Path) -> None:
    """Quantiles of \\|z\\| in stable bone against those of a standard normal, a line a patient.

    Args:
        z: by name of the method and of the patient.
        path: of the PNG.
    """
    from scipy.stats import norm

    normal = np.linspace(0.05, LARGEST_Z, 60)
    share = 1 - 2 * norm.sf(normal)
    figure, all_axes = _figure(len(z))
    for axes, (name, patients) in zip(all_axes, z.items(), strict=True):
        axes.plot([0, LARGEST_Z], [0, LARGEST_Z], color="0.7", linewidth=1)
        for patient, values in patients.items():
            axes.plot(normal, np.quantile(np.abs(values), share), linewidth=1, label=patient)
        axes.set(title=name, xlabel="|z| of a standard normal", xlim=(0, LARGEST_Z),
                 ylim=(0, 2 * LARGEST_Z))
    all_axes[0].set_ylabel("|z| in bone that did not change")
    all_axes[0].legend(fontsize=7)
    _save(figure, path)


def _figure(columns: int = 0):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, max(columns, 1), figsize=(4 + 2.4 * max(columns, 1), 4),
                                   sharey=True, squeeze=False)
    return figure, (axes[0] if columns else axes[0, 0])


def _save(figure, path: Path) -> None:
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)

# SPDX-License-Identifier: Apache-2.0
"""Left beside right, muscle by muscle, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ReadingRoomLib.results import DISCLAIMER

from .muscle_composition import MuscleMeasurement
from .structures import structure_named

COLORS = {"right": "#0072b2", "left": "#d55e00"}  # told apart by colour-blind readers, too
_PANELS = (
    ("volume_ml", "Volume (mL)", 1.0),
    ("mean_hu", "Mean density (HU)", 1.0),
    ("fat_fraction", "Fat (% of the voxels)", 100.0),
)
_BAR, _ROW_INCHES = 0.38, 0.36


def check_drawing() -> None:
    """Raise ModuleNotFoundError where the picture cannot be drawn."""
    import matplotlib  # noqa: F401


def draw_asymmetry(found: Sequence[MuscleMeasurement], path: Path) -> None:
    """Draw volume, mean density and fat of both sides of every paired muscle.

    How far the volumes differ stands beside each pair. Hatched bars are of structures that the end
    of the scan cuts off: they do not compare. Bones are drawn when there are no muscles.

    Args:
        found: in the order from top to bottom.
        path: of the picture, PNG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    sided = [one for one in found if one.side]
    sided = [one for one in sided if one.fat_fraction is not None] or sided
    names = list(dict.fromkeys(one.structure for one in sided))
    figure = Figure(figsize=(11, 1.9 + _ROW_INCHES * max(len(names), 3)), layout="constrained")
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (field, title, scale) in zip(panels, _PANELS, strict=True):
        _draw_bars(axes, sided, names, field, scale)
        axes.set_title(title, fontsize=10)
    _write_asymmetries(panels[0], sided, names)
    panels[0].set_yticks(range(len(names)), [structure_named(n).display_name for n in names])
    panels[0].set_ylim(max(len(names), 1) - 0.4, -0.6)
    handles = [Patch(color=color, label=f"patient's {side}") for side, color in COLORS.items()]
    handles.append(Patch(facecolor="white", edgecolor="#444444", hatch="////",
                         label="cut off by the end of the scan"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    figure.supxlabel(f"Per cent: how far the volumes of the sides differ. {DISCLAIMER}",
                     fontsize=8, color="#444444")
    figure.savefig(path, dpi=130)


def _draw_bars(axes: Any, sided: Sequence[MuscleMeasurement], names: Sequence[str], field: str,
               scale: float) -> None:
    for one in sided:
        value = getattr(one, field)
        if value is None:
            continue
        place = names.index(one.structure) + (-_BAR if one.side == "right" else _BAR) / 2
        color = COLORS[one.side]
        style = {"facecolor": "white", "hatch": "////"} if one.cut_off else {"facecolor": color}
        axes.barh(place, value * scale, _BAR, edgecolor=color, linewidth=0.8, **style)
    axes.axvline(0, color="#444444", linewidth=0.8)
    axes.grid(axis="x", color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def _write_asymmetries(axes: Any, sided: Sequence[MuscleMeasurement],
                       names: Sequence[str]) -> None:
    axes.margins(x=0.18)
    for row, name in enumerate(names):
        pair = [one for one in sided if one.structure == name]
        percent = pair[0].volume_asymmetry_percent
        if percent is not None:
            axes.annotate(f"{percent:.0f} %", (max(one.volume_ml for one in pair), row), (4, 0),
                          textcoords="offset points", va="center", fontsize=8)

# SPDX-License-Identifier: Apache-2.0
"""How far found landmarks lie from given ones: mean radial error and success detection rates.

Named as in the ISBI 2015 challenge (Wang et al., Medical Image Analysis 2016). Of what was not
found there is no distance; it counts as no success.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .sampling import known

WITHIN_MM = (2.0, 4.0, 10.0)


def radial_errors(found: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(n,) distances in mm of found from given points (n, 3); NaN where either is not there."""
    return np.linalg.norm(found - given, axis=1)


def errors_by_patient(found: Sequence[np.ndarray], given: Sequence[np.ndarray],
                      patients: Sequence[str],
                      within_mm: Sequence[float] = WITHIN_MM) -> dict[str, list[float]]:
    """Errors of each patient, by name; NaN where there is nothing to measure.

    Args:
        found, given: (n, 3) LPS mm of each case, NaN where there is none.
        patients: of the cases.
        within_mm: distances of the success detection rates.

    Returns:
        ``mre_mm`` (mean radial error), ``median_error_mm``, ``sdr_2_mm`` ... (share of the given
        landmarks that were found within), ``found`` (share that was found at all) and
        ``invented`` (share of those not given, such as outside the image, that were found).
    """
    rows: dict[str, dict[str, list[float]]] = {}
    for own, truth, patient in zip(found, given, patients, strict=True):
        errors = radial_errors(own, truth)
        there, has = known(truth), known(own)
        of_patient = rows.setdefault(patient, {})
        both = errors[there & has]
        _add(of_patient, "mre_mm", both)
        _add(of_patient, "median_error_mm", [float(np.median(both))] if len(both) else [])
        for limit in within_mm:
            _add(of_patient, f"sdr_{limit:g}_mm", np.nan_to_num(errors[there], nan=np.inf) <= limit)
        _add(of_patient, "found", has[there])
        _add(of_patient, "invented", has[~there])
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    return {name: [float(np.mean(row[name])) if row[name] else np.nan for row in rows.values()]
            for name in names}


def _add(row: dict[str, list[float]], name: str, values: Sequence[float]) -> None:
    row.setdefault(name, []).extend(float(value) for value in values)

# SPDX-License-Identifier: Apache-2.0
"""An estimate with its 95 % interval, and how people read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A statistic, the limits of its 95 % interval (NaN where there is none), and its n."""

    value: float
    low: float
    high: float
    n: int

    def written(self) -> dict[str, float | int | None]:
        """For JSON, which knows no NaN."""
        return {name: None if isinstance(number, float) and not math.isfinite(number) else number
                for name, number in vars(self).items()}

    @classmethod
    def read(cls, written: Mapping[str, float | int | None]) -> Estimate:
        """From what :meth:`written` gave."""
        return cls(**{name: math.nan if number is None else number
                      for name, number in written.items()})

    def per_cent(self, sign: str = "") -> str:
        """``96.2 (95.3 to 96.9) %``; with ``sign`` "+" a gain shows as one."""
        if math.isnan(self.value):
            return "cannot be measured"
        text = f"{100 * self.value:{sign}.1f}"
        if math.isnan(self.low):
            return f"{text} %"
        return f"{text} ({100 * self.low:{sign}.1f} to {100 * self.high:{sign}.1f}) %"

    def in_full(self) -> str:
        """With what the interval is, and n."""
        return f"{self.value:.3f} (95 % interval {self.low:.3f} to {self.high:.3f}, n = {self.n})"

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "cannot be measured"
        if math.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

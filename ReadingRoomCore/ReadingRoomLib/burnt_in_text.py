# SPDX-License-Identifier: Apache-2.0
"""Text that is part of the pixels of an image, as viewers and film printers burn it in.

Found by reading it: RapidOCR (PP-OCRv6 small), whose networks come inside its package, so nothing
is downloaded. Its finder of places alone takes heads for letters; only what can be read counts.
"""

from __future__ import annotations

import logging

import numpy as np

LEAST_CHARACTERS = 3  # one or two are "R", "L" or "A"
LEAST_SCORE = 0.6  # of what was read, 0 to 1
SIDE, LARGER = 512, 2.0  # smaller images are enlarged to that side (pixels), at most as much
LOW_PERCENT, HIGH_PERCENT = 0.5, 99.9


class TextReader:
    """Looks for text in grey images.

    Raises:
        ModuleNotFoundError: rapidocr is not installed (``readingroom[database]``).
    """

    def __init__(self) -> None:
        from rapidocr import RapidOCR

        self._engine = RapidOCR(params={
            "Global.log_level": "critical", "Global.use_cls": False, "Global.text_score": 0.0,
            "Det.limit_type": "min", "Det.limit_side_len": 32,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1})
        logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)  # it would log what it reads

    def has_text(self, picture: np.ndarray) -> bool:
        """Whether there is text in a slice.

        Several slices at once, by their brightest and darkest values, would take as long, and hide
        grey text.

        Args:
            picture: (rows, columns), any scale.
        """
        from PIL import Image

        low, high = np.percentile(picture, [LOW_PERCENT, HIGH_PERCENT])
        if not high > low:
            low, high = picture.min(), picture.max()
        if not high > low:
            return False
        grey = Image.fromarray(np.rint(255 * ((picture.astype(np.float32) - low) / (high - low)
                                              ).clip(0, 1)).astype(np.uint8))
        larger = min(LARGER, SIDE / min(grey.size))
        if larger > 1:
            grey = grey.resize([round(side * larger) for side in grey.size],
                               Image.Resampling.BICUBIC)
        found = self._engine(np.asarray(grey.convert("RGB")))
        return any(score >= LEAST_SCORE and sum(map(str.isalnum, text)) >= LEAST_CHARACTERS
                   for text, score in zip(found.txts or (), found.scores or (), strict=True))

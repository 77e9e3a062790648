# SPDX-License-Identifier: Apache-2.0
"""The kinds of tumour, and what a physician should keep in mind with each of them."""

from __future__ import annotations

from collections.abc import Iterable

KINDS = ("glioblastoma", "lymphoma", "meningioma")
"""Those of the published experiment (Kunimatsu, KAKENHI 18K07629)."""
CAUTIONS = {
    # EANO guideline, Hoang-Xuan et al., Neuro-Oncology 2023
    "lymphoma": "Lymphoma is not excluded: steroids before the biopsy can make it impossible to "
                "diagnose. Unless swelling endangers the patient, hold them back until tissue is "
                "taken.",
    # Stupp et al., ESMO guideline, Annals of Oncology 2014
    "glioblastoma": "Glioblastoma is not excluded: an abscess and a metastasis can look the same "
                    "(diffusion and the history help), and only tissue tells the molecular type.",
    # Goldbrunner et al., EANO guideline, Neuro-Oncology 2021
    "meningioma": "Meningioma is not excluded: a metastasis of the dura and a solitary fibrous "
                  "tumour can look the same, and images do not tell the grade.",
    "schwannoma": "Schwannoma is not excluded: a meningioma in the same place can look the same.",
    "metastasis": "Metastasis is not excluded: look for the primary tumour and for more of them.",
}


def cautions_for(kinds: Iterable[str]) -> list[str]:
    """One sentence or two for each kind of which something is known."""
    return [CAUTIONS[kind] for kind in kinds if kind in CAUTIONS]

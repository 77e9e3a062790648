# SPDX-License-Identifier: Apache-2.0
"""The report of a comparison, as a page."""

from functools import partial

from slicer.i18n import tr as _

from ReadingRoomSlicerLib import colors, pictures, reports
from TemporalSubtractionLib.candidate_table import REJECTED

from .candidate_view import summaryOf

BONE_WINDOW = (-400.0, 1100.0)  # HU
PICTURE_MM, PICTURE_PIXELS = 80.0, 320
AIR = -1000.0  # HU


def reportPage(result, candidates, accepted, threshold: float) -> str:
    """
    A page of HTML: what was compared, and the accepted candidates with pictures.

    :param result: `TemporalSubtractionResult`.
    :param candidates: all of its candidates.
    :param accepted: those of them that the physician accepted.
    :param threshold: size of the smallest change that the pictures draw, z.
    """
    rejected = sum(candidate.status == REJECTED for candidate in candidates)
    sentences = [
        " ".join(summaryOf(candidates, result.manifest)),
        _("{accepted} accepted, {rejected} rejected, {open} not decided.").format(
            accepted=len(accepted), rejected=rejected,
            open=len(candidates) - len(accepted) - rejected),
        _("Pictures: {mm} mm wide, seen as radiologists do. Green is denser than expected,"
          " orange is thinner.").format(mm=round(PICTURE_MM)),
    ]
    findings = [reports.Finding(candidate.name, _measures(candidate),
                                _pictures(result, candidate.point_ras, threshold))
                for candidate in accepted]
    name = result.currentVolume.GetName() if result.currentVolume else ""
    return reports.page(
        _("{name}: bone compared with the prior CT").format(name=name), sentences, findings)


def _measures(candidate) -> str:
    bone = f"{candidate.bone}. " if candidate.bone else ""
    return bone + _(
        "{volume} mL, diameter {diameter} mm, mean z {mean}, peak z {peak}, change"
        " {change} HU.").format(
            volume=f"{candidate.volume_ml:.2f}", diameter=f"{candidate.diameter_mm:.1f}",
            mean=f"{candidate.mean_z:+.1f}", peak=f"{candidate.peak_z:+.1f}",
            change=f"{candidate.hu_change:+.0f}")


def _pictures(result, point, threshold) -> list:
    """Three planes through a point, each as it was, as it is, and with the changes."""
    scans = [(volumeNode, when) for volumeNode, when in (
        (result.alignedVolume, _("prior")), (result.currentVolume, _("current")))
        if volumeNode]
    found = []
    for orientation, title in ((pictures.AXIAL, _("axial")), (pictures.CORONAL, _("coronal")),
                               (pictures.SAGITTAL, _("sagittal"))):
        plane = partial(pictures.plane, point=point, orientation=orientation,
                        width=PICTURE_MM, pixels=PICTURE_PIXELS)
        for volumeNode, when in scans:
            picture = pictures.grey(plane(volumeNode, outside=AIR), *BONE_WINDOW)
            found.append((f"{title}, {when}", picture))
        if result.currentVolume:
            change = plane(result.changeVolume, outside=0.0)
            found.append((f"{title}, {_('change')}", pictures.overlay(
                picture, change, colors.changeRamp(threshold), threshold)))
    return [(caption, pictures.asDataAddress(picture)) for caption, picture in found]

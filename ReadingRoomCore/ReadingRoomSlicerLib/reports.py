# SPDX-License-Identifier: Apache-2.0
"""A result as one HTML page that needs no other file and opens in any browser."""

import html
from dataclasses import dataclass, field

from slicer.i18n import tr as _

DISCLAIMER = _("Research software, not a medical device. The physician decides.")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem }
figure { display: inline-block; margin: .3rem .3rem 0 0 } img { display: block; width: 14rem }
figcaption, footer { color: #666; font-size: .85rem } footer { margin: 2rem 0 }
@media print { h2, figure { break-inside: avoid } }
"""


@dataclass
class Finding:
    """One part of a report.

    title, text - what it is.
    pictures - pairs of caption and address, such as that of `pictures.asDataAddress`.
    """

    title: str
    text: str
    pictures: list = field(default_factory=list)


def page(title: str, sentences, findings) -> str:
    """The page.

    :param sentences: paragraphs at the top.
    :param findings: list of `Finding`.
    """
    body = [f"<h1>{html.escape(title)}</h1>"]
    body += [f"<p>{html.escape(sentence)}</p>" for sentence in sentences]
    for finding in findings:
        body += [f"<h2>{html.escape(finding.title)}</h2>", f"<p>{html.escape(finding.text)}</p>"]
        body += [f'<figure><img src="{address}" alt="{html.escape(caption)}">'
                 f"<figcaption>{html.escape(caption)}</figcaption></figure>"
                 for caption, address in finding.pictures]
    body.append(f"<footer>{html.escape(DISCLAIMER)}</footer>")
    return (f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{html.escape(title)}'
            f"</title><style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body)
            + "\n</body></html>\n")

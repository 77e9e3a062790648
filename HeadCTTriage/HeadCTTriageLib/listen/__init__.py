# SPDX-License-Identifier: Apache-2.0
"""A DICOM node: head CTs come in over the network, judgements go out. No torch in here."""

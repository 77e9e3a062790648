# SPDX-License-Identifier: Apache-2.0
"""HeadCTTriageLib with the models of a test, whatever models the module has."""

# SPDX-License-Identifier: Apache-2.0
"""What ``make demo`` runs: each module on a real image, in the host, shown on one page."""

# SPDX-License-Identifier: Apache-2.0
"""MuscleSeg: muscles and bones of hip and thigh from CT, with confidence. Imports nothing."""

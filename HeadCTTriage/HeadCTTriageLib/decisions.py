# SPDX-License-Identifier: Apache-2.0
"""What is said of a head; the words of every result, list and picture. Standard library only."""

UNCERTAIN, URGENT, CAN_WAIT = "uncertain: look first", "urgent", "can wait"
ENLARGED_VENTRICLES = 0.3  # Evans' index above it

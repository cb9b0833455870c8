"""The near end: talk, ping, load, and the comparison of two loads."""

"""The near end: what it sends, and what it makes of what comes back."""

"""Middleboxes of our own, each with one fault that it was given, or with none."""

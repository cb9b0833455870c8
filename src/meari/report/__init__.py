"""A result for those who read it: as text, or as a page. Nothing here prints."""

"""Results as text, as JSON or as a page. Nothing here prints."""

"""The properties, one file each: check(path) tries it, and says what it saw."""

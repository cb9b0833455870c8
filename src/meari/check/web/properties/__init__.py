"""The properties of a path that carries HTTP: check(path) of each is its trial."""

"""What a path does to a connection: a battery of properties, each tried, each with a verdict.

    finding.py      the result of one property: a verdict, and the numbers behind it
    path.py         the path under test: connections, and what is known of the far end so far
    connection.py   one connection, both directions at once, every byte verified
    properties/     the properties, one file each: check(path) -> Finding
    tables.py       the properties of TCP, HTTP and WebSocket, what each needs, and when it is tried
    battery.py      tries them: which run together, and what follows from one for the others
    web/            the same of HTTP and WebSocket: client, path, properties, sentences, causes
    trial.py        the trial of one property: its finding, and observations of a started server
    reachability.py whether the path was there while a verdict was found
    spawned.py      a started server, watched; printed.py: its output
    catalogue.py    sentences.toml and causes.toml: the sentences of findings, and likely causes

A property measures and judges; it neither prints nor knows a language.
"""

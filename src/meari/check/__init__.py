"""What a path does to a connection: a battery of properties, each tried, each with a verdict.

    finding.py      the result of one property: a verdict, and the numbers behind it
    path.py         what a property is given: connections, and what is known of the far end so far
    connection.py   one connection, both directions at once, every byte verified
    properties/     the properties, one file each: check(path) -> Finding
    battery.py      which properties there are, what each needs, and which run together
    trial.py        the trial of one property: its finding, and what a started server did meanwhile
    reachability.py whether the path was there while a verdict was found
    spawned.py      the far end as a started process, watched; printed.py: its output
    catalogue.py    sentences.toml and causes.toml: what a finding says, and its likely causes

A property measures and judges; it neither prints nor knows a language.
"""

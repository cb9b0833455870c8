"""What a path does to a connection: a battery of properties that TCP promises, each tried, each
with a verdict.

    finding.py      what one property shows: a verdict, and the numbers behind it
    path.py         what a property is given: connections to the far end, and what is known of it so far
    line.py         one connection, both directions at once, every byte verified
    properties/     the properties, one file each: check(path) -> Finding
    battery.py      which there are, what each needs, and which run together
    trial.py        one of them, tried: its finding, and what a server of ours did meanwhile
    reachability.py whether the path was there while a verdict was found
    spawned.py      the far end as a process of ours, watched; printed.py what it prints
    known.py        sentences.toml and causes.toml: what a finding says, and what it may come from

A property measures and judges; it neither prints nor knows a language.
"""

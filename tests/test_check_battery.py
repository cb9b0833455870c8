"""Which properties a check tries, and in which order."""

from __future__ import annotations

import pytest

from meari.check.battery import choose, with_needs
from meari.check.tables import PROPERTIES
from meari.errors import UsageError

NAMES = [each.name for each in PROPERTIES]


def test_by_default_all_but_those_of_a_server_of_our_own() -> None:
    assert [each.name for each in choose()] == [
        each.name for each in PROPERTIES if each.spawned is not True and each.of != "tls"
    ]
    assert [each.name for each in choose(spawned=True)] == [
        each.name for each in PROPERTIES if each.name != "alive" and each.of != "tls"
    ]
    assert [each.name for each in choose(spawned=None, schemes=())] == NAMES
    assert "handshake" in [each.name for each in choose(schemes=("tls",))]
    assert "idle" not in [each.name for each in choose(quick=True)]
    assert [each.name for each in choose(["idle", "bytes"], quick=True)] == ["bytes", "idle"]
    assert "idle" not in [each.name for each in choose(skip=["idle"])]


@pytest.mark.parametrize(
    ("name", "said"),
    [("", "there is no property"), ("nothing", "there is no property"), ("descriptors", "--spawn")],
)
def test_a_property_that_there_is_not(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        choose([name])


@pytest.mark.parametrize("name", NAMES)
def test_what_a_property_needs_is_tried_before_it(name: str) -> None:
    (each,) = choose([name], spawned=None, schemes=())
    order = [other.name for other in with_needs([each])]
    assert order == [other for other in NAMES if other in order]
    wanted = {name}
    while (
        more := {
            need
            for other in PROPERTIES
            if other.name in wanted
            for need in other.needs + other.after
        }
        - wanted
    ):
        wanted |= more
    assert set(order) == wanted

"""For tests of a client, a proxy or a path: a far end that lies, and pytest's fixtures.

from meari.testing import Liar

with Liar("127.0.0.1:0", lies=("drop",), every=10_000, seed=1) as liar:
    ...                 # talk to liar.addresses[0] through whatever is to be tested
for lie in liar.lies:
    print(lie)
"""

from __future__ import annotations

from .liar import LIES as LIES
from .liar import Liar as Liar
from .liar import Lie as Lie
from .liar import Lies as Lies

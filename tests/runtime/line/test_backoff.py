from __future__ import annotations

from goodparts.runtime.line.backoff import Backoff


def test_backoff_doubles_up_to_its_longest() -> None:
    backoff = Backoff(1.0, longest=5.0)
    assert [backoff.next() for _ in range(4)] == [1.0, 2.0, 4.0, 5.0]
    assert backoff.reset()
    assert not backoff.reset()
    assert backoff.next() == 1.0

from __future__ import annotations

import pytest
from goodparts.runtime.backends.tensors import name_outputs, split_outputs
from goodparts.runtime.core.errors import EngineError


def test_memory_comes_in_the_order_of_the_taps_whatever_the_order_of_the_graph() -> None:
    outputs = name_outputs(["whole", "patches", *(f"tap {index}" for index in range(12))])
    first, second, memory = split_outputs(dict(sorted(outputs.items(), reverse=True)))
    assert (first, second) == ("whole", "patches")
    assert memory == [f"tap {index}" for index in range(12)]


@pytest.mark.parametrize("names", [("global",), ("global", "memory_0"), ("global", "local", "memory_1"), ("score",)])
def test_outputs_that_are_not_an_encoders_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(EngineError, match=rf"the graph gives {', '.join(names)}, not global, local, memory_0 …"):
        split_outputs(dict.fromkeys(names, 0.0))

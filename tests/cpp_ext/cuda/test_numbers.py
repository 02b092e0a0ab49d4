"""The number formats, the places in shared memory and the keys that the kernels use."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cpp_ext.cuda.devices import OnCpu, pointer


def test_number_formats(on_cpu: OnCpu) -> None:
    torch = pytest.importorskip("torch")
    every = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    every = every[np.isfinite(every)]
    above = np.nextafter(every, np.float32(np.inf))
    middle = ((every[1:].astype(np.float64) + every[:-1]) / 2).astype(np.float32)
    some = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    values = np.concatenate([every, above, middle, some[~np.isnan(some)], np.float32([np.inf, -np.inf])])
    with np.errstate(over="ignore"):
        wanted = {"halves": values.astype(np.float16).view(np.uint16)}
    wanted["bfloats"] = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    for name, bits in wanted.items():
        to, back = np.empty(len(values), np.uint16), np.empty(len(values), np.float32)
        getattr(on_cpu.emulation, name)(pointer(values), ctypes.c_int64(len(values)), pointer(to), pointer(back))
        np.testing.assert_array_equal(to, bits)
        as_float = (
            bits.view(np.float16).astype(np.float32)
            if name == "halves"
            else torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
        )
        np.testing.assert_array_equal(back, as_float)


@pytest.mark.parametrize("segments", [4, 8])
def test_shared_memory_has_a_place_for_each_segment_and_no_conflicts(on_cpu: OnCpu, segments: int) -> None:
    places = np.array(
        [[on_cpu.emulation.segment(segments, row, number) for number in range(segments)] for row in range(64)]
    )
    assert sorted(places.ravel()) == list(range(64 * segments))
    for eight in places.reshape(8, 8, segments):  # one instruction loads 16 bytes of each of eight rows
        assert all(len(set(eight[:, number] % 8)) == 8 for number in range(segments))


@given(st.lists(st.tuples(st.floats(width=32, allow_nan=False), st.integers(0, 2**31 - 1)), min_size=1, max_size=20))
def test_the_largest_key_is_of_the_best_row(on_cpu: OnCpu, found: list[tuple[float, int]]) -> None:
    library = on_cpu.emulation
    library.key.argtypes, library.key.restype = [ctypes.c_float, ctypes.c_uint32], ctypes.c_uint64
    library.product.argtypes, library.product.restype = [ctypes.c_uint64], ctypes.c_float
    library.row.argtypes, library.row.restype = [ctypes.c_uint64], ctypes.c_int64
    best = max(library.key(product, row) for product, row in found)
    assert (library.product(best), library.row(best)) == max(found, key=lambda pair: (pair[0], -pair[1]))
    assert np.isnan(library.product(2**64 - 1)), "what is not finite has this key"

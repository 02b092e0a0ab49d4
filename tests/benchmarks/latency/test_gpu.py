"""`goodparts bench gpu` without a GPU: every row is measured, with kernels that are emulated on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from goodparts.benchmarks.latency import gpu
from goodparts.benchmarks.timing import Contender, in_this_process
from goodparts.evaluation.report.report import Findings
from goodparts.runtime.core.scoring import Features, Learned

from tests.cpp_ext.cuda.devices import OnCpu, compile_kernels


class Bank:
    def __init__(self, width: int, precision: str = "fp16") -> None:
        self.width, self.precision = width, precision
        self.rows = np.zeros((0, width), np.float32)

    def append(self, rows: torch.Tensor) -> None:
        self.rows = np.concatenate([self.rows, rows.float().numpy()])


class KernelsOnCpu:
    """A replacement of goodparts._native.cuda for torch's arrays in the host's memory."""

    def __init__(self) -> None:
        self._on_cpu = OnCpu(compile_kernels())
        self.Bank = Bank

    def Search(self, banks: Sequence[Bank], max_queries: int) -> Any:  # noqa: N802 - the module's name
        def run(
            queries: Sequence[torch.Tensor], out: Sequence[tuple[torch.Tensor, torch.Tensor]],
            stream: int,  # noqa: ARG001
        ) -> None:  # fmt: skip
            assert all(len(some) <= max_queries for some in queries)
            arrays = [some.float().numpy() for some in queries]
            found = self._on_cpu.search([[bank.rows] for bank in banks], arrays, banks[0].precision)
            for (product, index), (to_product, to_index) in zip(found, out, strict=True):
                to_product.copy_(torch.from_numpy(product))
                to_index.copy_(torch.from_numpy(index))

        return SimpleNamespace(run=run)

    def Scorer(  # noqa: N802 - the module's name
        self, image: Any, pixel: Any, banks: Sequence[Bank], temperature: float, grid: Any, maximum_of_map: bool = False
    ) -> Any:
        learned = Learned(
            image, pixel, tuple(bank.rows for bank in banks), temperature, "map" if maximum_of_map else "grid"
        )

        def run(
            global_: torch.Tensor, local: torch.Tensor, memory: Sequence[torch.Tensor], out: Sequence[torch.Tensor],
            stream: int,  # noqa: ARG001
        ) -> None:  # fmt: skip
            arrays = [some.float().numpy() for some in (global_, local, *memory)]
            scores = self._on_cpu.score(learned, Features(*arrays[:2], tuple(arrays[2:]), grid), "fp16")
            found = (scores.image, scores.grid, *vars(scores.branches).values())
            for to, values in zip(out, found, strict=True):
                to.copy_(torch.from_numpy(values))

        return SimpleNamespace(run=run)

    def resize(
        self, frame: torch.Tensor, size: tuple[int, int], out: torch.Tensor,
        stream: int,  # noqa: ARG002
    ) -> None:  # fmt: skip
        out.copy_(torch.from_numpy(self._on_cpu.resize(frame.numpy(), size, None, "rgb")))


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> KernelsOnCpu:
    """Return the kernels on the CPU, and make the benchmark so small that they take only seconds."""

    def capture(call: Callable[[], None]) -> Contender[None]:
        return in_this_process(call)

    small: dict[str, object] = {
        "DEVICE": "cpu", "QUERIES": 24, "WIDTH": 32, "JOINT": 16, "GRID": (3, 3), "ROWS": (24, 48), "SMALL": 24,
        "AIMED_ROWS": (24,), "FRAME_SIZE": (30, 36), "SIDE": 24, "SHOT_ROWS": 20, "BATCHES": (1, 2), "BLOCKS": 4,
        "HEADS": 2, "capture": capture, "pinned": lambda array: array, "stream": lambda: 0,
    }  # fmt: skip
    for name, value in small.items():
        monkeypatch.setattr(gpu, name, value)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    return KernelsOnCpu()


def test_every_step_adds_rows_of_the_same_results_as_its_peers(kernels: KernelsOnCpu) -> None:
    findings, counts = Findings(), []
    for step in gpu.steps(kernels, repeat=1):
        before = len(findings.rows)
        step(findings)
        counts.append(len(findings.rows) - before)
    assert counts == [2] * 6 + [1, 2] + [1, 1] + [1]  # searches, resizing, scoring, encoders, the frame
    assert [row.name for row in findings.rows if row.unit != "µs"] == []
    assert len(findings.remarks) == 3 + 1 + 1  # aims of every small search, of the large one in fp16, of scoring

"""A model repository for NVIDIA's Triton Inference Server: the encoder, which every product shares.

Layout and config.pbtxt are Triton's (docs/user_guide/model_repository, protobuf/model_config.proto). Triton serves
features; what is learned for a product stays in its recipe, with whoever scores them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from goodparts.runtime.backends.session import Precision
from goodparts.runtime.backends.tensors import IMAGE, name_outputs
from goodparts.runtime.core.errors import EngineError, SettingsError
from goodparts.runtime.core.files import staged, writing
from goodparts.runtime.engine.spec import EngineSpec, Variant, verify_files

Device = Literal["cpu", "gpu"]

QUEUE_DELAY = 500
"""Microseconds that a request waits for others to share its batch: cameras that fire together arrive within it."""


def write_repository(
    engine: Path, folder: Path, *, device: Device = "gpu", max_batch: int = 8, instances: int = 1
) -> list[Path]:
    """Add a model for every precision, `encoder_fp32` and so on, and return their folders.

    max_batch: most views in one run; instances: copies of a model that run at the same time, on each GPU or
    on the CPU. Raises EngineError for a damaged engine, or where a model of that name is there already.
    """
    if max_batch < 1 or instances < 1:
        raise SettingsError(f"max_batch {max_batch}, instances {instances}: at least 1 of each is needed")
    spec = verify_files(engine)
    written = []
    graph = spec.graph("plain")
    for precision in graph.precisions:
        variant = graph.variants[precision]
        if device == "cpu" and not any(record.backend == "onnxruntime" for record in variant.parity):
            continue  # Triton's ONNX Runtime has no more kernels than ours
        target = folder / model_name(precision)
        if target.exists():
            raise EngineError(f"{target} exists: name another folder, or remove it (Triton may be serving it)")
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        _write_model(engine, target, variant, config(spec, precision, device, max_batch, instances))
        written.append(target)
    return written


def _write_model(engine: Path, target: Path, variant: Variant, text: str) -> None:
    """Appears whole or not at all. Files beside a graph must lie with it in a folder named as the model file."""
    with staged(target) as part:
        inside = part / "1" / "model.onnx"
        inside.mkdir(parents=True)
        for name, copy in ((variant.graph, "model.onnx"), (variant.weights, variant.weights)):
            shutil.copyfile(engine / name, inside / copy)
        (part / "config.pbtxt").write_bytes(text.encode())


def model_name(precision: Precision) -> str:
    """Return the name that clients ask Triton for."""
    return f"encoder_{precision}"


def tensors(spec: EngineSpec) -> dict[str, tuple[int, ...]]:
    """Return the encoder's outputs, all float32: name → shape without the batch."""
    rows, columns = spec.encoder.grid
    patches, width = rows * columns, spec.encoder.width
    memory: list[tuple[int, ...]] = [(patches, tap.width) for tap in spec.encoder.taps]
    return name_outputs([(width,), (patches, width), *memory])


def config(spec: EngineSpec, precision: Precision, device: Device, max_batch: int, instances: int) -> str:
    """Return config.pbtxt with the graph's id: a recipe's banks hold for the graph they were computed with."""
    size = spec.encoder.image_size
    outputs = ",\n".join(_tensor(name, "TYPE_FP32", shape) for name, shape in tensors(spec).items())
    parameters = {"graph": spec.graph_id("plain", precision), "encoder": str(spec.encoder)}
    return f"""name: "{model_name(precision)}"
backend: "onnxruntime"
max_batch_size: {max_batch}
input [
{_tensor(IMAGE, "TYPE_UINT8", (size, size, 3))}
]
output [
{outputs}
]
instance_group [ {{ count: {instances} kind: KIND_{device.upper()} }} ]
dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY} }}
""" + "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{_quoted(value)}" }} }}\n'
        for key, value in parameters.items()
    )


def _tensor(name: str, kind: str, shape: tuple[int, ...]) -> str:
    return f'  {{ name: "{name}" data_type: {kind} dims: [ {", ".join(map(str, shape))} ] }}'


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")

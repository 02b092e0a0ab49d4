"""A model repository for NVIDIA's Triton Inference Server, with the encoder that every product shares.

The layout and config.pbtxt are Triton's (docs/user_guide/model_repository, protobuf/model_config.proto). Triton serves
features. Everything that is learned for a product stays in its recipe, and the client scores the features with it.
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
"""The microseconds that a request waits for other requests to share its batch. Frames of cameras that are triggered
together arrive within this time."""


def write_repository(
    engine: Path, folder: Path, *, device: Device = "gpu", max_batch: int = 8, instances: int = 1
) -> list[Path]:
    """Add a model for every precision of an engine: `encoder_fp32` and so on.

    Args:
        engine: The engine's folder.
        folder: The model repository, made if it does not exist.
        device: Where Triton runs the models; for `cpu`, only precisions that ONNX Runtime can run are added.
        max_batch: The largest number of views in one batch, at least 1.
        instances: The number of copies of a model that run at the same time, on each GPU or on the CPU, at least 1.

    Returns:
        The models' folders.

    Raises:
        SettingsError: A number is out of range.
        EngineError: The engine is damaged, or the repository has a model of that name already.
        FileError: The repository cannot be written.
    """
    if max_batch < 1 or instances < 1:
        raise SettingsError(f"max_batch {max_batch}, instances {instances}: at least 1 of each is needed")
    spec = verify_files(engine)
    written = []
    graph = spec.graph("plain")
    for precision in graph.precisions:
        variant = graph.variants[precision]
        if device == "cpu" and not any(record.backend == "onnxruntime" for record in variant.parity):
            continue  # Triton runs the models with ONNX Runtime too
        target = folder / model_name(precision)
        if target.exists():
            raise EngineError(f"{target} exists: name another folder, or remove it (Triton may be serving it)")
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        _write_model(engine, target, variant, config(spec, precision, device, max_batch, instances))
        written.append(target)
    return written


def _write_model(engine: Path, target: Path, variant: Variant, text: str) -> None:
    """Write a model's folder; it appears complete or not at all.

    The weights are in a file of their own. Triton therefore needs a folder model.onnx that holds both files, the graph
    under the name model.onnx.
    """
    with staged(target) as part:
        inside = part / "1" / "model.onnx"
        inside.mkdir(parents=True)
        for name, copy in ((variant.graph, "model.onnx"), (variant.weights, variant.weights)):
            shutil.copyfile(engine / name, inside / copy)
        (part / "config.pbtxt").write_bytes(text.encode())


def model_name(precision: Precision) -> str:
    """Return the name under which clients find a precision in Triton.

    Args:
        precision: The precision.
    """
    return f"encoder_{precision}"


def tensors(spec: EngineSpec) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the encoder's outputs, all float32, by name and without the batch.

    Args:
        spec: The engine's description.
    """
    rows, columns = spec.encoder.grid
    patches, width = rows * columns, spec.encoder.width
    memory: list[tuple[int, ...]] = [(patches, tap.width) for tap in spec.encoder.taps]
    return name_outputs([(width,), (patches, width), *memory])


def config(spec: EngineSpec, precision: Precision, device: Device, max_batch: int, instances: int) -> str:
    """Return config.pbtxt.

    It contains the graph's id, because a recipe's banks are valid only for the graph that they were computed with.

    Args:
        spec: The engine's description.
        precision: The precision of the graph.
        device: Where Triton runs the model.
        max_batch: The largest number of views in one batch.
        instances: The number of copies of the model that run at the same time.
    """
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

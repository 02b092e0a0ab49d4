"""A checkpoint of AnoPLe's learning, from which a killed run continues: learned tensors, AdamW's moments, the step.

A step's batch depends on the seed and the step only, so a resumed run ends as if it had never stopped.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
from goodparts.runtime.core.errors import FileError, SettingsError
from goodparts.runtime.core.files import read_bytes, write_atomic
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

HEADER = "header"


class CheckpointHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The header of a checkpoint.

    Attributes:
        steps: The number of steps taken.
        digest: The digest of everything that learning depends on (`AnoPLeLearner.digest`).
    """

    steps: int = msgspec.field(name="done")
    digest: str = msgspec.field(name="of")


def write_checkpoint(path: Path, header: CheckpointHeader, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: The file.
        header: The header.
        model: The model.
        optimiser: The model's optimiser.

    Raises:
        FileError: The file cannot be written; its former content is kept.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{kind}": tensor for kind, tensor in moments.items()}
    tensors[HEADER] = torch.frombuffer(bytearray(msgspec.json.encode(header)), dtype=torch.uint8)
    write_atomic(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def read_checkpoint(path: Path, digest: str, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Load a checkpoint into a model and its optimiser.

    Args:
        path: The file.
        digest: The digest of everything that this run depends on.
        model: The model, which is overwritten.
        optimiser: The model's optimiser, which is overwritten.

    Returns:
        The number of steps taken.

    Raises:
        FileError: The file is damaged.
        SettingsError: The file belongs to a run with other photos, textures, product texts, settings, seed or backbone.
    """
    data = read_bytes(path)
    try:
        tensors = load(data)
        header = msgspec.json.decode(bytes(tensors.pop(HEADER).tolist()), type=CheckpointHeader)
        if header.digest != digest:
            raise SettingsError(
                f"{path} is from a run with other photos, settings, seed or backbone: use that run's, or another file"
            )
        states: dict[int, dict[str, Tensor]] = {}
        for name in [name for name in tensors if name.startswith("optimiser.")]:
            _, number, kind = name.split(".")
            states.setdefault(int(number), {})[kind] = tensors.pop(name)
        model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in tensors.items()})
        optimiser.load_state_dict({**optimiser.state_dict(), "state": states})
    except (SafetensorError, msgspec.MsgspecError, KeyError, ValueError, RuntimeError) as error:
        raise FileError(f"{path} is damaged, or is no checkpoint ({error}): remove it and start again") from error
    return header.steps

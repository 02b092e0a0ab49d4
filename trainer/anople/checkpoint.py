"""Learning that was killed goes on where it stood: what is learned, AdamW's moments and the step, in one file.

A step's batch depends on the seed and the step alone, so what is resumed ends as if it had never stopped.
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


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """done: steps so far; of: digest of everything that learning depends on."""

    done: int
    of: str


def write_checkpoint(path: Path, header: Header, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """FileError where the file cannot be written; what it held before is then still there."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{kind}": tensor for kind, tensor in moments.items()}
    tensors[HEADER] = torch.frombuffer(bytearray(msgspec.json.encode(header)), dtype=torch.uint8)
    write_atomic(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def read_checkpoint(path: Path, of: str, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Put what the file holds where it was; returns the steps so far.

    FileError for a damaged file, SettingsError for one of another product, seed or setting.
    """
    data = read_bytes(path)
    try:
        tensors = load(data)
        header = msgspec.json.decode(bytes(tensors.pop(HEADER).tolist()), type=Header)
        if header.of != of:
            raise SettingsError(
                f"{path} is of other photos, settings or another seed or backbone: give those again, or another file"
            )
        states: dict[int, dict[str, Tensor]] = {}
        for name in [name for name in tensors if name.startswith("optimiser.")]:
            _, number, kind = name.split(".")
            states.setdefault(int(number), {})[kind] = tensors.pop(name)
        model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in tensors.items()})
        optimiser.load_state_dict({**optimiser.state_dict(), "state": states})
    except (SafetensorError, msgspec.MsgspecError, KeyError, ValueError, RuntimeError) as error:
        raise FileError(f"{path} is damaged, or no checkpoint ({error}): remove it and start again") from error
    return header.done

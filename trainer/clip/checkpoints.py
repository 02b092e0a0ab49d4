"""Reads files of CLIP weights in the common formats, as tensors under open_clip's names.

No code in a file is run: a pickle may hold tensors only, and only the tensors of a TorchScript archive are read.
"""

from __future__ import annotations

import collections
import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from goodparts.runtime.core.errors import BackboneError, first_line
from torch import Tensor

WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema")
"""Keys under which training checkpoints hold the weights."""
PREFIXES = ("module.", "_orig_mod.", "clip.", "clip_model.", "model.")
"""Prefixes of names: of data-parallel training, of torch.compile, and of models that contain a CLIP."""
NO_WEIGHTS = re.compile(r"^(input_resolution|context_length|vocab_size|(.*\.)?attn_mask)$")
"""Names of settings and masks that TorchScript archives hold among the weights."""
_HUGGING_FACE = (
    (r"^text_model\.embeddings\.token_embedding\.weight$", "token_embedding.weight"),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"^text_projection\.weight$", "text_projection"),
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.weight$", "visual.conv1.weight"),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),  # the library spells it so
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^visual_projection\.weight$", "visual.proj"),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)
"""Patterns of the transformers library's names of CLIP's tensors, and their replacements, open_clip's names."""
_STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Checkpoint(NamedTuple):
    """The content of a file of weights.

    Attributes:
        tensors: Tensors in float32 by open_clip's names.
        quick_gelu: Whether the model approximates GELU as OpenAI's models do; None if the file does not record it.
    """

    tensors: dict[str, Tensor]
    quick_gelu: bool | None = None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the weights of a CLIP from a file: safetensors, a pickle of tensors, or OpenAI's TorchScript archive.

    The names may be open_clip's or the transformers library's. Prefixes and keys that training adds are removed.

    Args:
        path: The file.

    Returns:
        The weights.

    Raises:
        BackboneError: The file does not exist, is of none of these kinds, or holds an image tower only.
    """
    if not path.is_file():
        raise BackboneError(f"weights file {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            tensors, quick_gelu = safetensors.torch.load_file(path), None
        elif _is_torchscript(path):
            tensors, quick_gelu = _read_torchscript(path), True
        else:
            tensors, quick_gelu = _unwrap(torch.load(path, map_location="cpu", weights_only=True)), None
    except pickle.UnpicklingError as error:
        raise BackboneError(
            f"{path} holds more than tensors and is not read, because its code would run: save the model's "
            "state_dict() instead"
        ) from error
    except Exception as error:  # safetensors, zipfile and torch raise errors of their own
        raise BackboneError(f"{path} is no file of weights that can be read: {first_line(error)[:200]}") from error
    tensors = _strip_prefixes(tensors)
    tensors = {name: tensor for name, tensor in tensors.items() if not NO_WEIGHTS.match(name)}
    if any(name.startswith(("vision_model.", "text_model.")) for name in tensors):
        tensors, quick_gelu = _from_hugging_face(tensors), _hugging_face_activation(path)
    _check_towers(path, tensors)
    return Checkpoint({name: tensor.float() for name, tensor in tensors.items()}, quick_gelu)


def _unwrap(content: Any) -> dict[str, Tensor]:
    """Return the tensors of a training checkpoint."""
    for _ in range(len(WRAPPERS)):
        if not isinstance(content, dict):
            break
        inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), dict)]
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, dict):
        raise ValueError("no tensors by name")
    tensors = {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    if not tensors:
        raise ValueError("no tensors by name")
    return tensors


def _strip_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefixes that all names share."""
    while prefix := next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _check_towers(path: Path, tensors: dict[str, Tensor]) -> None:
    """Raise BackboneError if the file holds an image tower only."""
    is_bare = "conv1.weight" in tensors and not any(name.startswith("visual.") for name in tensors)
    has_text = any("token_embedding" in name or name.startswith("text.") for name in tensors)
    if is_bare or (not has_text and any(name.startswith("visual.") for name in tensors)):
        raise BackboneError(
            f"{path} holds the image tower of a CLIP only: prompts need its text tower as well, so give the whole "
            "model's weights"
        )


def _from_hugging_face(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of the transformers library's CLIPModel by open_clip's names."""
    converted: dict[str, Tensor] = {}
    attention: dict[str, dict[str, Tensor]] = collections.defaultdict(dict)
    for original, tensor in tensors.items():
        if original.endswith("position_ids"):
            continue
        name = original
        for pattern, replacement in _HUGGING_FACE:
            name = re.sub(pattern, replacement, name)
        if match := re.fullmatch(r"(.*)\.self_attn\.([qkv])_proj\.(weight|bias)", name):
            attention[f"{match[1]}.attn.in_proj_{match[3]}"][match[2]] = tensor
        else:
            converted[name] = tensor.t() if name in ("text_projection", "visual.proj") else tensor
    for name, parts in attention.items():
        converted[name] = torch.cat([parts[part] for part in "qkv"])
    return converted


def _hugging_face_activation(path: Path) -> bool | None:
    """Return whether the config.json next to a file asks for QuickGELU, the transformers library's default.

    Return None if there is no config.json.
    """
    config = path.with_name("config.json")
    if not config.is_file():
        return None
    vision = json.loads(config.read_text(encoding="utf-8")).get("vision_config") or {}
    return str(vision.get("hidden_act", "quick_gelu")) == "quick_gelu"


def _is_torchscript(path: Path) -> bool:
    """Return whether a file is an archive of TorchScript, which holds code as well as tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


class _ScriptedModule:
    """A stand-in for any class of a TorchScript archive; its attributes are submodules, tensors and settings."""


class _ScriptUnpickler(pickle.Unpickler):
    """Reads the object that a TorchScript archive holds: tensors, and modules without their code."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}/data.pkl"))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _ScriptedModule
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is no tensor")

    def persistent_load(self, reference: Any) -> Tensor:
        _, dtype, key, *_ = reference
        data = self._archive.read(f"{self._root}/data/{key}")
        return torch.from_numpy(np.frombuffer(data, np.uint8).copy()).view(dtype)


def _rebuild(storage: Tensor, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return torch.as_strided(storage, shape, stride, offset)


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a TorchScript archive by name; the names of their modules come before the tensors' own."""
    with zipfile.ZipFile(path) as archive:
        [root] = {name.partition("/")[0] for name in archive.namelist() if name.endswith("/data.pkl")}
        model = _ScriptUnpickler(archive, root).load()
    tensors: dict[str, Tensor] = {}

    def collect(module: Any, prefix: str) -> None:
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                tensors[prefix + name] = value
            elif isinstance(value, _ScriptedModule):
                collect(value, f"{prefix}{name}.")

    collect(model, "")
    return tensors

"""Loads the weights of an open_clip model from the Hugging Face hub, from a local file, or from a seed."""

from __future__ import annotations

import contextlib
import difflib
import math
import re
import socket
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import open_clip
import torch
from goodparts.runtime.core.errors import BackboneError, SettingsError, first_line
from goodparts.runtime.engine.spec import GONE_BACKBONE
from torch import nn

from .checkpoints import read_checkpoint
from .names import DEFAULT_NAME, LARGE_NAME, LARGE_PRETRAINED, RANDOM

CONNECT_SECONDS = 5.0
HUB = "hf-hub:"
"""The prefix of the names of the hub's repositories."""
NAMES_SHOWN = 3
"""The number of mismatched weights that a message names."""


def open_model(name: str, pretrained: str | None, weights: Path | None) -> Any:
    """Return an open_clip model with its weights.

    Args:
        name: A name of open_clip, or `hf-hub:` and a repository of the hub, which has weights of its own.
        pretrained: The tag of the weights, `random`, or None for the recommended weights of LARGE_NAME.
        weights: A local file with the weights, instead of a tag.

    Raises:
        BackboneError: The tag is unknown, or the weights are unavailable or do not fit.
        SettingsError: Both a tag and a file are given, or either of them with a repository of the hub.
    """
    if weights is not None and pretrained is not None:
        raise SettingsError("--weights and --pretrained both given: choose one")
    if name.startswith(HUB):
        if weights is not None or pretrained is not None:
            raise SettingsError(f"{name} brings its own weights: leave out --pretrained and --weights")
        return _from_hub(name, None)
    if weights is not None:
        return _from_file(name, weights)
    if pretrained == RANDOM:
        model = open_clip.create_model(name)
        randomise(model, seed=0)
        return model
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is None:
        if name != LARGE_NAME:
            raise BackboneError(f"{name} needs --pretrained TAG ({', '.join(tags) or 'none known'}) or --weights FILE")
        pretrained = LARGE_PRETRAINED
    if pretrained not in tags:
        raise BackboneError(f"{name} has no pretrained tag {pretrained!r}: {', '.join(tags) or 'none'}, or {RANDOM}")
    return _from_hub(name, pretrained)


def read_config(name: str) -> dict[str, Any]:
    """Return the configuration of an open_clip model; for a hub model, read it from the local cache or the network.

    Args:
        name: A name of open_clip, or `hf-hub:` and a repository of the hub.

    Raises:
        BackboneError: open_clip has no model of this name, or the configuration is unavailable.
    """
    if not name.startswith(HUB):
        check_name(name)
        return dict(open_clip.get_model_config(name) or {})
    with hub_within_reach() as obstacle:
        try:
            return dict(open_clip.get_model_config(name))
        except Exception as error:  # a download raises many kinds of errors
            raise BackboneError(explain_missing(f"the configuration of {name}", first_line(error), obstacle)) from error


def check_name(name: str) -> None:
    """Check that open_clip has a model of this name.

    Args:
        name: The name.

    Raises:
        BackboneError: open_clip has no such model.
    """
    if name == GONE_BACKBONE:
        raise BackboneError(
            "the backbone demo is gone, small replaced it: leave out --backbone, or give --backbone small"
        )
    known = open_clip.list_models()
    if name not in known:
        close = difflib.get_close_matches(name, [*known, DEFAULT_NAME], n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "see open_clip.list_models()"
        raise BackboneError(
            f"unknown backbone {name!r}: {DEFAULT_NAME}, or a model of open_clip {open_clip.__version__}; {hint}"
        )


def _from_file(name: str, path: Path) -> Any:
    """Return a model with the weights of a file; position embeddings of another length are interpolated."""
    checkpoint = read_checkpoint(path)
    try:
        model: Any = open_clip.create_model(name, force_quick_gelu=bool(checkpoint.quick_gelu))
        tensors = open_clip.convert.convert_state_dict(model, checkpoint.tensors)
        if "positional_embedding" in tensors and not hasattr(model, "positional_embedding"):
            tensors = open_clip.model.convert_to_custom_text_state_dict(tensors)
        if "logit_scale" in tensors:
            tensors["logit_scale"] = tensors["logit_scale"].reshape(model.logit_scale.shape)
        open_clip.model.resize_pos_embed(tensors, model)
        open_clip.model.resize_text_pos_embed(tensors, model)
        model.load_state_dict(tensors)
    except Exception as error:  # open_clip and torch raise many kinds of errors
        raise BackboneError(f"{path} does not hold weights for {name}: {describe_mismatch(error)}") from error
    return model


def describe_mismatch(error: Exception) -> str:
    """Return one line on why weights do not fit a model: how many are missing, unexpected or of another shape.

    Args:
        error: The error of loading them. If it does not list weights as torch's does, its first line is returned.
    """
    text = str(error)
    parts = []
    for kind in ("missing", "unexpected"):
        listed = re.search(rf"^\s*{kind} key\(s\) in state_dict: (.*)$", text, re.IGNORECASE | re.MULTILINE)
        if listed is not None:
            parts.append(_count_names(kind, re.findall(r'"([^"]+)"', listed[1])))
    if resized := re.findall(r"^\s*size mismatch for ([^:\s]+):", text, re.MULTILINE):
        parts.append(_count_names("of another shape", resized))
    return "; ".join(parts) or first_line(error)[:200]


def _count_names(kind: str, names: list[str]) -> str:
    more = ", …" if len(names) > NAMES_SHOWN else ""
    return f"{len(names)} {kind} ({', '.join(names[:NAMES_SHOWN])}{more})"


def _from_hub(name: str, tag: str | None) -> Any:
    """Return a model with weights from the hub's local cache or, if they are not there, from the network.

    A repository of the hub has weights of its own; its tag is None.
    """
    with hub_within_reach() as obstacle:
        try:
            # Some tags were trained with QuickGELU although their model's configuration does not ask for it.
            quick = tag is not None and bool((open_clip.get_pretrained_cfg(name, tag) or {}).get("quick_gelu"))
            return open_clip.create_model(name, pretrained=tag, force_quick_gelu=quick, require_pretrained=True)
        except Exception as error:  # a download raises many kinds of errors
            what = f"the weights of {name}" if tag is None else f"the weights {tag} of {name}"
            raise BackboneError(explain_missing(what, first_line(error), obstacle)) from error


@contextlib.contextmanager
def hub_within_reach() -> Iterator[str | None]:
    """Let the hub's client read only its local cache while the hub cannot be reached.

    Yields:
        The reason why the hub cannot be reached, or None.
    """
    hub = huggingface_hub.constants
    if hub.HF_HUB_OFFLINE:
        yield "HF_HUB_OFFLINE is set"
        return
    silent = silent_host()
    hub.HF_HUB_OFFLINE = silent is not None
    try:
        yield None if silent is None else f"{silent} does not answer"
    finally:
        hub.HF_HUB_OFFLINE = False


def explain_missing(what: str, cause: str, obstacle: str | None) -> str:
    """Return one line that explains why weights are unavailable and what to do.

    Args:
        what: The weights, in words.
        cause: The error of the download.
        obstacle: What `hub_within_reach` yielded.
    """
    cause = cause[:200] if obstacle is None else f"the local cache has no such file, and {obstacle}"
    return (
        f"cannot get {what}: {cause}; connect once, or copy the file from a machine that has it and give --weights "
        "FILE, or take --backbone small, which needs neither"
    )


def silent_host() -> str | None:
    """Return which of the proxy and the hub does not answer, as host and port; None if the hub can be reached.

    It tries to connect once, for CONNECT_SECONDS at most; the hub's client would try for a minute.
    """
    hub = urllib.parse.urlsplit(huggingface_hub.constants.ENDPOINT)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(hub.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(hub.hostname or ""):
        address = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
        kind = "the proxy "
    else:
        address, kind = hub, ""
    try:
        port = address.port or {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}.get(address.scheme, 80)
        with socket.create_connection((address.hostname or "", port), CONNECT_SECONDS):
            return None
    except (OSError, ValueError):
        return f"{kind}{address.hostname}:{port}"


def randomise(model: nn.Module, seed: int) -> None:
    """Replace every weight by one that depends only on the seed, the tensor's name and its shape.

    numpy draws n from Normal(0, 1). Weights of LayerNorm and BatchNorm become 1 + 0.1·n, a BatchNorm's variances
    exp(0.1·n), other tensors of two or more dimensions n / √fan-in, and all other tensors 0.1·n; logit_scale becomes
    ln 100.

    Args:
        model: The model, which is changed.
        seed: The seed.
    """
    batch_norms = {name for name, part in model.named_modules() if isinstance(part, nn.BatchNorm2d)}
    layer_norms = {name for name, part in model.named_modules() if isinstance(part, nn.LayerNorm)}
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name == "attn_mask":
                continue
            if name == "logit_scale":
                tensor.fill_(math.log(100.0))
                continue
            owner, _, part = name.rpartition(".")
            if part == "num_batches_tracked":
                tensor.zero_()
                continue
            shape = tuple(tensor.shape)
            noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape)
            normal = np.asarray(noise, np.float32)
            if ".ln_" in name or name.startswith("ln_") or owner in batch_norms | layer_norms:
                value = np.exp(0.1 * normal) if part == "running_var" else 0.1 * normal + float(part == "weight")
            elif len(shape) >= 2:
                value = normal / math.sqrt(math.prod(shape[1:]))
            else:
                value = 0.1 * normal
            tensor.copy_(torch.from_numpy(np.asarray(value, np.float32)))

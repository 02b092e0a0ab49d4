"""The table of methods, each of which learns from a few good photos and scores other photos.

Recipes hold methods of prompts and memory, which the runtime scores. Methods of patch statistics exist only for
comparison. So do methods with an encoder of their own, which run only through torch. All methods get the same photos.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec
from goodparts.runtime.core.errors import SettingsError
from goodparts.trainer.promptad.settings import CLEAN_TEMPERATURE

from .anople import MAPLE, anople
from .clip_encoders import every_block, middle_memory, ordinary_path, plain, value_path
from .cnn import cnn_statistics
from .coop import fit_cocoop
from .linear_clip import fit_linear
from .method import Method
from .patch_statistics import (
    fit_anomalydino,
    fit_fastrecon,
    fit_padim,
    fit_patchcore,
    fit_spade,
    patch_statistics,
)
from .prompts_and_memory import prompts_and_memory, zero_shot
from .rwda import fit_rwda
from .winclip import fit_winclip, window_encoder

METHODS: Mapping[str, Method] = {
    "memory": prompts_and_memory("memory only, as in PromptAD", None, fusion="memory"),
    "memory-top": prompts_and_memory(
        "memory only, scored by the mean of the largest hundredth of the patches",
        None,
        fusion="memory",
        image_maximum="top",
    ),
    "subspace": prompts_and_memory(
        "memory only, scored by the distance from its mean and components (SubspaceAD)",
        None,
        fusion="subspace",
        image_maximum="top",
    ),
    "promptad": prompts_and_memory("PromptAD, generic suffixes", "generic"),
    "promptad-objects": prompts_and_memory("PromptAD, generic suffixes and the object's", "objects"),
    "promptad-paper": prompts_and_memory(
        "PromptAD, harmonic mean of raw scores, as published", "generic", fusion="paper"
    ),
    "promptad-prompt": prompts_and_memory("PromptAD, prompts only", "generic", fusion="prompt"),
    "promptad-sc": prompts_and_memory(
        "PromptAD, prompts only, without the explicit margin", "generic", margin=None, fusion="prompt"
    ),
    "promptad-no-margin": prompts_and_memory("PromptAD without the explicit margin", "generic", margin=None),
    "promptad-no-manual": prompts_and_memory("PromptAD without manual anomaly prompts", "no manual"),
    "promptad-no-learned": prompts_and_memory(
        "PromptAD without learnable anomaly prompts", "generic", learned_suffixes=0
    ),
    "promptad-multi": prompts_and_memory("PromptAD, one set of prompts for all categories", "together"),
    "untrained": prompts_and_memory("PromptAD's prompts before the first step", "untrained"),
    "coop": prompts_and_memory("CoOp-style: no concatenation, no margin, no memory", "coop", fusion="prompt"),
    "coop+": prompts_and_memory("CoOp-style with memory", "coop"),
    "vvclip": zero_shot("V-V CLIP, prompt ensemble, zero-shot"),
    "vvclip+": prompts_and_memory("V-V CLIP, prompt ensemble, with memory", "ensemble"),
    "taught": prompts_and_memory("goodparts teach: prompt ensemble of a generic part, with memory", "taught"),
    "anomalydino": patch_statistics("AnomalyDINO on the encoder's patches", fit_anomalydino),
    "patchcore": patch_statistics("PatchCore on the encoder's patches", fit_patchcore),
    "spade": patch_statistics("SPADE on the encoder's patches", fit_spade),
    "padim": patch_statistics("PaDiM on the encoder's patches, covariances shrunk", fit_padim),
    "fastrecon": patch_statistics("FastRecon on the encoder's patches", fit_fastrecon),
    "clip": zero_shot("CLIP's own local path, prompt ensemble, zero-shot", ordinary_path),
    "clip-promptad": prompts_and_memory(
        "PromptAD's prompts on CLIP's own local path", "generic", ordinary_path, fusion="prompt"
    ),
    "clip-linear": Method(
        "PromptAD's prompts on linearly mapped patches of each block of CLIP", fit_linear, open_encoder=every_block
    ),
    "maskclip": zero_shot("MaskCLIP, prompt ensemble, zero-shot", value_path),
    "maskclip-promptad": prompts_and_memory("PromptAD's prompts on MaskCLIP", "generic", value_path, fusion="prompt"),
    "memory-middle": prompts_and_memory(
        "memory only, tapped at middle blocks as PatchCore does", None, middle_memory, fusion="memory"
    ),
    "cocoop": Method("CoCoOp-style: a context that each photo shifts", fit_cocoop, open_encoder=plain),
    "rwda": Method("RWDA, zero-shot", partial(fit_rwda, memory=False), needs_shots=False, open_encoder=plain),
    "rwda+": Method("RWDA with memory", partial(fit_rwda, memory=True), open_encoder=plain),
    "winclip": Method(
        "WinCLIP, zero-shot", partial(fit_winclip, memory=False), needs_shots=False, open_encoder=window_encoder
    ),
    "winclip+": Method("WinCLIP+", partial(fit_winclip, memory=True), open_encoder=window_encoder),
    "anople": anople("AnoPLe, a reconstruction"),
    "anople-paper": anople(
        "AnoPLe with all that its abstract names: multi-scale views, latent anomalies, full alignment",
        tiles=True,
        latent_noise=1.0,
        alignment_weight=1.0,
        fusion="paper",
    ),
    "anople-multi": anople("AnoPLe, one model for all categories", together=True),
    "anople-text": anople("AnoPLe, text prompts only", coupling="none", visual_tokens=0, prefix="none"),
    "anople-visual": anople("AnoPLe, visual prompts only", coupling="none", text_tokens=0),
    "anople-text-to-visual": anople("AnoPLe, coupled from text to visual only", coupling="text-to-visual"),
    "anople-no-alignment": anople("AnoPLe without the alignment loss", alignment_weight=0.0),
    "anople-tiles": anople("AnoPLe, learned from tiles as well (multi-scale)", tiles=True),
    "anople-no-decoder": anople("AnoPLe without the decoder", decoder="none"),
    "maple": anople("MaPLe-style: from text to visual, good photos only", **MAPLE, anomaly_share=0.0),
    "maple-draem": anople("MaPLe-style with painted defects (MaPLe + DRAEM)", **MAPLE),
    "cnn-patchcore": cnn_statistics("PatchCore on an ImageNet CNN", fit_patchcore, slice(1, 3)),
    "cnn-spade": cnn_statistics("SPADE on an ImageNet CNN", fit_spade, slice(0, 3)),
    "cnn-padim": cnn_statistics("PaDiM on an ImageNet CNN, covariances shrunk", fit_padim, slice(0, 3)),
    "cnn-fastrecon": cnn_statistics("FastRecon on an ImageNet CNN", fit_fastrecon, slice(1, 3)),
}
"""The rows by the name that --method takes."""

DECIDE_DEFAULT = f"promptad:fusion=residual,temperature={CLEAN_TEMPERATURE}"
"""The row of PromptAD's clean protocol with its default fusion and temperature."""
DECIDE = (
    "memory",
    *(
        f"promptad:fusion={fusion},temperature={temperature}"
        for temperature in (CLEAN_TEMPERATURE, 20, "exp")
        for fusion in ("residual", "paper", "prompt")
    ),
)
"""The rows that --decide compares; DECIDE_DEFAULT is among them."""

_PROMPT = "fusion=prompt"
GROUPS: Mapping[str, tuple[str, ...]] = {
    "all": tuple(METHODS),
    "exportable": tuple(name for name, method in METHODS.items() if method.open_encoder is None),
    "torch-only": tuple(name for name, method in METHODS.items() if method.open_encoder is not None),
    "modules": (
        "coop", f"promptad-objects:margin=null,{_PROMPT}", f"promptad-objects:{_PROMPT}", "memory",
        "promptad-objects:fusion=paper",
    ),
    "suffixes": (
        f"promptad-no-manual:{_PROMPT}", f"promptad-objects:learned_suffixes=0,{_PROMPT}",
        f"promptad-objects:{_PROMPT}",
    ),
    "transformations": (
        "clip", "maskclip", "vvclip", "winclip", "clip-promptad", "clip-linear", "maskclip-promptad", "promptad-prompt",
    ),
    "anople-all": tuple(name for name in METHODS if name.startswith(("anople", "maple"))),
    "learners": ("coop", "cocoop", "promptad-prompt"),
    "hyper-parameters": tuple(
        f"promptad:{setting}"
        for setting in (
            *(f"alignment_weight={value}" for value in (0, 0.001, 0.01, 0.1, 1)),
            *(f"image_prefixes={value},pixel_prefixes={value}" for value in (1, 2, 4, 8)),
            *(f"learned_suffixes={value}" for value in (1, 2, 4, 8)),
            *(f"prefix_length={value}" for value in (2, 4, 8)),
            *(f"suffix_length={value}" for value in (1, 2, 4)),
        )
    ),
    "decide": DECIDE,
    "anople-context-lengths": (
        *(f"anople:text_tokens={value}" for value in (2, 4, 8, 16)),
        *(f"anople:visual_tokens={value}" for value in (2, 4, 8, 16)),
    ),
}  # fmt: skip
"""The groups of rows by the name that --method takes. There are groups for rows that run on engines or only in torch,
for PromptAD's ablations (modules, anomaly prompts, local paths of CLIP, learners of prompts, hyper-parameters λ, N, L,
E_N, E_A), for AnoPLe's n_t and n_v, and for --decide."""


def find_method(name: str) -> Method:
    """Return the row of this name, or the row with other settings, as in "promptad:margin=0.1,lr=0.01".

    Args:
        name: The row's name, optionally followed by settings.

    Raises:
        SettingsError: The row or a setting does not exist, or a value is out of range.
    """
    if name in METHODS:
        return METHODS[name]
    base, _, changes = name.partition(":")
    method = METHODS.get(base)
    if method is None or method.tune is None or not changes:
        raise SettingsError(
            f"--method {name} is not accepted: give a group ({' '.join(GROUPS)}), a row ({' '.join(METHODS)}), or one "
            "of PromptAD's, AnoPLe's and the memory's rows with settings, as in "
            "promptad:alignment_weight=0.1,fusion=prompt or memory:poses=true"
        )
    settings = dict(_read_setting(change, method.settings) for change in changes.split(","))
    return dataclasses.replace(method.tune(**settings), title=f"{method.title}; {changes}")


def _read_setting(text: str, settings: Callable[..., msgspec.Struct]) -> tuple[str, Any]:
    """Read one setting, such as "margin=0.1" or "fusion=prompt"."""
    name, _, value = text.partition("=")
    names = settings().__struct_fields__
    if name not in names:
        raise SettingsError(f"--method: {text!r} is no setting of this row: the settings are {' '.join(names)}")
    try:
        decoded = msgspec.json.decode(value.encode())
    except msgspec.DecodeError:
        decoded = value
    settings(**{name: decoded})
    return name, decoded


def expand_methods(names: Iterable[str]) -> tuple[str, ...]:
    """Return the rows that these names of rows and groups stand for, each once.

    Args:
        names: The names that --method takes.

    Raises:
        SettingsError: A name or a setting does not exist, or a value is out of range.
    """
    rows = tuple(dict.fromkeys(row for name in names for row in GROUPS.get(name, (name,))))
    for name in rows:
        find_method(name)
    return rows

"""The table of methods: what learns from a few good photos on one encoder's features, and how it scores others.

Those of branches (prompts, memory, or both) are what a recipe holds and the runtime scores; those of patch statistics
exist for comparison alone, and so do those with an encoder of their own, which run through torch only. All see the same
photos.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec
from goodparts.runtime.core.errors import SettingsError

from .anople import MAPLE, anople
from .clip_paths import middle_memory, ordinary_path, plain, quarter_memory, value_path
from .cnn import cnn
from .coop import NO_MARGIN
from .method import Judge, Lesson, Method
from .patch_statistics import Fit, fit_fastrecon, fit_padim, fit_patchcore, fit_spade
from .prompts_and_memory import row, zero_shot
from .torch_learners import learn_cocoop, learn_linear, learn_rwda
from .winclip import learn_winclip, windowed


def _compared(title: str, fit: Fit) -> Method:
    return Method(title, partial(_statistics, fit=fit))


def _statistics(lesson: Lesson, fit: Fit) -> Judge:
    return Judge(fit(lesson.features))


def _on_cnn(title: str, fit: Fit, stages: slice) -> Method:
    def learn(lesson: Lesson) -> Judge:
        score = fit(dataclasses.replace(lesson.features, memory=lesson.features.memory[stages]))
        return Judge(lambda features: score(dataclasses.replace(features, memory=features.memory[stages])))

    return Method(title, learn, own=cnn)


class _Table(dict[str, Method]):
    """Rows by name; one of a method with other settings is there as well, as "promptad:margin=0.1,lr=0.01"."""

    def __missing__(self, name: str) -> Method:
        base, _, text = name.partition(":")
        tune = self[base].tune if base in self else None
        if tune is None or not text:
            raise SettingsError(
                f"--method {name}: there are {' '.join(GROUPS)}, {' '.join(self)}, and PromptAD's and AnoPLe's "
                "with settings, as in promptad:alignment_weight=0.1,fusion=prompt"
            )
        changes = dict(_read_change(one, self[base].settings) for one in text.split(","))
        return dataclasses.replace(tune(**changes), title=f"{self[base].title}; {text}")


def _read_change(text: str, settings: Callable[..., msgspec.Struct]) -> tuple[str, Any]:
    """One setting, "margin=0.1" or "fusion=prompt"; SettingsError where there is none of that name or value."""
    name, _, value = text.partition("=")
    names = settings().__struct_fields__
    if name not in names:
        raise SettingsError(f"--method: {text!r}: the settings are {' '.join(names)}")
    try:
        read = msgspec.json.decode(value.encode())
    except msgspec.DecodeError:
        read = value
    settings(**{name: read})
    return name, read


METHODS: Mapping[str, Method] = _Table({
    "memory": row("memory only (PromptAD's VAD)", None, fusion="memory"),
    "promptad": row("PromptAD, generic suffixes", "generic"),
    "promptad-objects": row("PromptAD, generic suffixes and the object's", "objects"),
    "promptad-paper": row("PromptAD, raw scores fused", "generic", fusion="paper"),
    "promptad-prompt": row("PromptAD, prompts only (no VAD)", "generic", fusion="prompt"),
    "promptad-sc": row(
        "semantic concatenation only (no EAM, no VAD)", "generic", margin=NO_MARGIN, fusion="prompt"
    ),
    "promptad-no-margin": row("PromptAD without the explicit margin (no EAM)", "generic", margin=NO_MARGIN),
    "promptad-no-manual": row("PromptAD without manual anomaly prompts (no MAP)", "no manual"),
    "promptad-no-learned": row("PromptAD without learnable anomaly prompts (no LAP)", "generic", learned_suffixes=0),
    "coop": row("CoOp-style: no concatenation, no margin, no memory", "coop", fusion="prompt"),
    "coop+": row("CoOp-style with memory", "coop"),
    "vvclip": zero_shot("V-V CLIP, prompt ensemble, zero-shot"),
    "vvclip+": row("V-V CLIP, prompt ensemble, with memory", "ensemble"),
    "patchcore": _compared("PatchCore on the encoder's patches", fit_patchcore),
    "spade": _compared("SPADE on the encoder's patches", fit_spade),
    "padim": _compared("PaDiM on the encoder's patches, shrunk", fit_padim),
    "fastrecon": _compared("FastRecon on the encoder's patches", fit_fastrecon),
    "clip": zero_shot("CLIP's own local path, prompt ensemble, zero-shot", ordinary_path),
    "clip-promptad": row("PromptAD's prompts on CLIP's own local path", "generic", ordinary_path, fusion="prompt"),
    "clip-linear": Method("PromptAD's prompts on linearly mapped patches of CLIP", learn_linear, own=quarter_memory),
    "maskclip": zero_shot("MaskCLIP, prompt ensemble, zero-shot", value_path),
    "maskclip-promptad": row("PromptAD's prompts on MaskCLIP", "generic", value_path, fusion="prompt"),
    "memory-middle": row("memory only, of PatchCore's middle layers", None, middle_memory, fusion="memory"),
    "cocoop": Method("CoCoOp-style: a context that each photo shifts", learn_cocoop, own=plain),
    "rwda": Method("RWDA, zero-shot", partial(learn_rwda, memory=False), shots=False, own=plain),
    "rwda+": Method("RWDA with memory", partial(learn_rwda, memory=True), own=plain),
    "winclip": Method("WinCLIP, zero-shot", partial(learn_winclip, memory=False), shots=False, own=windowed),
    "winclip+": Method("WinCLIP+", partial(learn_winclip, memory=True), own=windowed),
    "anople": anople("AnoPLe, a reconstruction"),
    "anople-multi": anople("AnoPLe, one model for all categories", together=True),
    "anople-text": anople("AnoPLe, text prompts only", coupling="none", visual_tokens=0, prefix="none"),
    "anople-visual": anople("AnoPLe, visual prompts only", coupling="none", text_tokens=0),
    "anople-text-to-visual": anople("AnoPLe, coupled from text to visual only", coupling="text-to-visual"),
    "anople-no-alignment": anople("AnoPLe without the alignment loss", alignment_weight=0.0),
    "anople-tiles": anople("AnoPLe, learned from tiles as well (multi-scale)", tiles=True),
    "anople-no-decoder": anople("AnoPLe without the decoder", decoder="none"),
    "maple": anople("MaPLe-style: from text to visual, good photos alone", **MAPLE, anomaly_share=0.0),
    "maple-draem": anople("MaPLe-style with painted defects (MaPLe + DRAEM)", **MAPLE),
    "cnn-patchcore": _on_cnn("PatchCore on a Wide ResNet-50", fit_patchcore, slice(1, 3)),
    "cnn-spade": _on_cnn("SPADE on a Wide ResNet-50", fit_spade, slice(0, 3)),
    "cnn-padim": _on_cnn("PaDiM on a Wide ResNet-50, shrunk", fit_padim, slice(0, 3)),
})  # fmt: skip
"""By the name that --method takes."""

_PROMPT = "fusion=prompt"
GROUPS: Mapping[str, tuple[str, ...]] = {
    "all": tuple(METHODS),
    "exportable": tuple(name for name, method in METHODS.items() if method.own is None),
    "torch-only": tuple(name for name, method in METHODS.items() if method.own is not None),
    "modules": ("coop", "promptad-sc", "promptad-prompt", "memory", "promptad"),
    "suffixes": (f"promptad-no-manual:{_PROMPT}", f"promptad-no-learned:{_PROMPT}", "promptad-prompt"),
    "transformations": (
        "clip", "maskclip", "vvclip", "winclip", "clip-promptad", "clip-linear", "maskclip-promptad", "promptad-prompt",
    ),
    "anople-all": tuple(name for name in METHODS if name.startswith(("anople", "maple"))),
    "learners": ("coop", "cocoop", "promptad-prompt"),
    "hyper-parameters": tuple(
        f"promptad:{one}"
        for one in (
            *(f"alignment_weight={value}" for value in (0, 0.001, 0.01, 0.1, 1)),
            *(f"image_prefixes={value},pixel_prefixes={value}" for value in (1, 2, 4, 8)),
            *(f"learned_suffixes={value}" for value in (1, 2, 4, 8)),
            *(f"prefix_length={value}" for value in (2, 4, 8)),
        )
    ),
}  # fmt: skip
"""Names for several rows: of where they run, and of PromptAD's ablations: which modules, which anomaly prompts, which
local path of CLIP, which learner of prompts, which hyper-parameters (λ, N, L, E_N)."""


def expand_methods(names: Iterable[str]) -> tuple[str, ...]:
    """The rows that these names of rows and groups stand for, each once; SettingsError for one that there is not."""
    rows = tuple(dict.fromkeys(row for name in names for row in GROUPS.get(name, (name,))))
    for name in rows:
        METHODS[name]
    return rows

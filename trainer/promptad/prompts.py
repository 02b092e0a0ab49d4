"""Prompts: semantic concatenation (PromptAD, §3.2) in one packed layout.

A prompt is [SOS] P_1…P_E, then a continuation, then [EOS]. Normal, manual anomaly and learnable anomaly prompts share
the learnable prefix P, and every prefix has the same continuations.

Shapes use these letters: N prefixes have E_N tokens; there are M manual suffixes, and L learnable suffixes of E_A
tokens; J is the number of learnable anomaly prompts; a token vector has W numbers, a row has T tokens, and a feature of
the joint space has D numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from goodparts.runtime.core.errors import SettingsError
from torch import Tensor, nn

from ..clip.text_tower import INITIAL_SPREAD, TextTower, open_tokenizer

Pairing = Literal["product", "cyclic"]
"""How learnable suffixes are paired with prefixes (`Prompts.by_kind`)."""


@dataclass(frozen=True)
class TextFeatures:
    """Raw text features of the prompts of one task.

    Attributes:
        normal: [N, D].
        manual: [M·N, D]: suffix by suffix, each with all prefixes.
        learned: [J, D].
    """

    normal: Tensor
    manual: Tensor
    learned: Tensor

    @property
    def anomalous(self) -> Tensor:
        """The features of all anomaly prompts, [M·N+J, D]."""
        return torch.cat([self.manual, self.learned])

    def prototypes(self) -> Tensor:
        """Return the normal and the anomalous prototype, [2, D]: means of raw features, then l2-normalised."""
        means = torch.stack([self.normal.mean(dim=0), self.anomalous.mean(dim=0)])
        return nn.functional.normalize(means, dim=-1)


class PackedLayout:
    """The tokens of a row: [SOS], the prefix's places, then B = 1+M+L continuations: normal, manual, learnable.

    `TextTower.forward` takes these tensors.

    Attributes:
        ids: [T], int64; 0 where a learnable vector goes.
        positions: [T], int64: each token's position in its own prompt.
        mask: [T, T]: 0 where a token (row) may attend to another (column), −inf elsewhere.
        eos: [B], int64: where each prompt's [EOS] is.
        learnable: [L·E_A], int64: where the learnable suffixes' vectors go.
        prefix: The slice where the prefix's vectors go.

    Args:
        product: The product in words.
        suffixes: The manual suffixes, as templates with {} for the product.
        prefix_length: E_N, the number of tokens of a prefix.
        learned: L, the number of learnable suffixes.
        suffix_length: E_A, the number of tokens of a learnable suffix.
        suffix_place: Whether a learnable suffix stands after the product, as in the paper, or before it, as in the
            released code (docs/promptad.md, D8).
        context_length: The largest number of tokens that the text tower reads.

    Raises:
        SettingsError: A prompt has more tokens than `context_length`.
    """

    def __init__(
        self,
        product: str,
        suffixes: tuple[str, ...],
        *,
        prefix_length: int,
        learned: int,
        suffix_length: int,
        suffix_place: Literal["after", "before"],
        context_length: int,
    ) -> None:
        tokenizer = open_tokenizer()
        start, end = tokenizer.sot_token_id, tokenizer.eot_token_id
        place = -1  # stands for a learnable vector

        def words(text: str) -> list[int]:
            return list(tokenizer.encode(text))

        free = [place] * suffix_length
        # The full stop is tokenised with the last word: one byte-pair token may span the end of "(M8)" and ".".
        own = [*words(product), *free, *words(".")] if suffix_place == "after" else [*free, *words(f"{product}.")]
        continuations = [
            words(f"{product}."),
            *(words(f"{suffix.replace('{}', product)}.") for suffix in suffixes),
            *(own for _ in range(learned)),
        ]
        ids = [start, *[place] * prefix_length]
        begin = len(ids)
        positions = list(range(begin))
        owner = [-1] * begin
        eos: list[int] = []
        for number, continuation in enumerate(continuations):
            ids += [*continuation, end]
            length = len(continuation) + 1
            if begin + length > context_length:
                raise SettingsError(
                    f"a prompt for {product[:40]!r} has {begin + length} tokens, {context_length} fit: "
                    "use a shorter product text, shorter suffixes or a shorter prefix"
                )
            positions += range(begin, begin + length)
            owner += [number] * length
            eos.append(len(ids) - 1)
        token, branch = torch.tensor(ids), torch.tensor(owner)
        visible = (branch[None, :] == -1) | (branch[None, :] == branch[:, None])
        visible &= torch.arange(len(ids))[None, :] <= torch.arange(len(ids))[:, None]
        self.prefix = slice(1, begin)
        self.ids = token.clamp(min=0)
        self.positions = torch.tensor(positions)
        self.mask = torch.zeros(visible.shape).masked_fill(~visible, float("-inf"))
        self.eos = torch.tensor(eos)
        self.learnable = torch.nonzero((token == place) & (branch >= 0)).flatten()


class Prompts(nn.Module):
    """The learnable prompts of one task (image or pixel level).

    Args:
        normal_ctx: [N, E_N, W], the prefixes.
        abnormal_ctx: [L, E_A, W], the learnable suffixes.
    """

    def __init__(self, normal_ctx: Tensor, abnormal_ctx: Tensor) -> None:
        super().__init__()
        self.normal_ctx = nn.Parameter(normal_ctx)
        self.abnormal_ctx = nn.Parameter(abnormal_ctx)

    @classmethod
    def initial(
        cls,
        shape: tuple[int, int, int, int, int],
        generator: torch.Generator,
        device: torch.device,
    ) -> Prompts:
        """Draw prompts from Normal(0, 0.02).

        They are drawn on the CPU, so that a seed gives the same numbers on every device.

        Args:
            shape: (N, E_N, L, E_A, W).
            generator: The source of randomness, on the CPU.
            device: The device of the prompts.

        Returns:
            The prompts.
        """
        prefixes, prefix_length, suffixes, suffix_length, width = shape
        normal = torch.randn(prefixes, prefix_length, width, generator=generator) * INITIAL_SPREAD
        abnormal = torch.randn(suffixes, suffix_length, width, generator=generator) * INITIAL_SPREAD
        return cls(normal.to(device), abnormal.to(device))

    def vectors(self, layout: PackedLayout, embedding: Tensor) -> Tensor:
        """Return one packed row for each prefix, [N, T, W].

        Args:
            layout: The layout of the rows.
            embedding: [T, W], the token vectors of `layout.ids`.
        """
        rows = embedding.expand(len(self.normal_ctx), -1, -1).clone()
        rows[:, layout.prefix] = self.normal_ctx
        rows[:, layout.learnable] = self.abnormal_ctx.flatten(0, 1)
        return rows

    def by_kind(self, features: Tensor, pairing: Pairing) -> TextFeatures:
        """Sort the features of the packed rows by kind.

        With the pairing "product", learnable anomaly prompts pair every prefix with every suffix. "cyclic" steps
        through both lists together N·L times, as the released code does, so every pair appears only if N and L have no
        common divisor (docs/promptad.md, D9).

        Args:
            features: [N, 1+M+L, D].
            pairing: How learnable suffixes are paired with prefixes.

        Returns:
            The text features, with J = N·L.
        """
        prefixes, suffixes = len(self.normal_ctx), len(self.abnormal_ctx)
        manual = features.shape[1] - 1 - suffixes
        by_suffix = features.transpose(0, 1)  # [1+M+L,N,D]
        learned = by_suffix[1 + manual :]
        if pairing == "cyclic" and suffixes:
            step = torch.arange(prefixes * suffixes, device=features.device)
            learned = learned[step % suffixes, step % prefixes]
        else:
            learned = learned.flatten(0, 1)
        return TextFeatures(features[:, 0], by_suffix[1 : 1 + manual].flatten(0, 1), learned)


class PromptEncoder:
    """Encodes the prompts of several tasks in one pass of the text tower.

    Args:
        text: The text tower.
        layout: The layout of the rows.
        pairing: How learnable suffixes are paired with prefixes.
    """

    def __init__(self, text: TextTower, layout: PackedLayout, pairing: Pairing) -> None:
        device = text.positional_embedding.device
        self._text = text
        self._layout = layout
        self._pairing = pairing
        self._embedding = text.embed(layout.ids.to(device)).detach()
        self._fixed = tuple(tensor.to(device) for tensor in (layout.positions, layout.mask, layout.eos))

    def __call__(self, *tasks: Prompts) -> list[TextFeatures]:
        """Return the text features of each task's prompts."""
        rows = [task.vectors(self._layout, self._embedding) for task in tasks]
        features = self._text(torch.cat(rows), *self._fixed)
        parts = features.split([len(part) for part in rows])
        return [task.by_kind(part, self._pairing) for task, part in zip(tasks, parts, strict=True)]

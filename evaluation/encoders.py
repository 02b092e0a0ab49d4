"""The encoders of a category's photos, and the methods that are measured through each of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from types import TracebackType
from typing import NamedTuple

from goodparts.runtime.core.errors import BackboneError, SettingsError

from .datasets import Split
from .encoded_photos import EncodedPhotos, Photos
from .methods.method import Method, OpenEncoder
from .methods.table import find_method
from .official import OfficialPhotos
from .plan import TORCH, EvaluationPlan, MeasuredBackend, torch_backend
from .results import CategoryResult


class MethodGroup(NamedTuple):
    """Methods that are measured through the same encoder.

    Attributes:
        backend: The encoder.
        encoded: The photos' features from it.
        methods: The methods' names.
        own_encoder: Whether the encoder belongs to these methods and to no engine.
    """

    backend: MeasuredBackend
    encoded: EncodedPhotos
    methods: list[str]
    own_encoder: bool


class CategoryEncoders:
    """The photos of a category, and their features on the plan's backends, on torch and on methods' own encoders.

    It is a context manager, which closes all stores of photos and features at its end.

    Args:
        plan: The plan of the evaluation.
        split: The category.
        result: Receives a remark for each method whose encoder cannot be opened.

    Attributes:
        photos: The photos at the encoder's size.
        large_photos: The photos at twice that size.
        torch: The features from torch, from which prompts are learned.
    """

    def __init__(self, plan: EvaluationPlan, split: Split, result: CategoryResult) -> None:
        self._plan = plan
        self._result = result
        self._stack = ExitStack()
        size = plan.encoder.image_size
        tested = {sample.path for sample in split.test}
        photos = OfficialPhotos(size, tested) if plan.official else Photos(size)
        self.photos = self._stack.enter_context(closing(photos))
        self.large_photos = self._stack.enter_context(closing(Photos(2 * size)))
        self._own: dict[OpenEncoder, tuple[MeasuredBackend, EncodedPhotos]] = {}
        self._backends = [(backend, self._encode_through(backend)) for backend in plan.backends]
        last, encoded = self._backends[-1]
        torch = torch_backend(plan.encoder, plan.backbone)
        self.torch = encoded if last.name == TORCH else self._encode_through(torch)

    def __enter__(self) -> CategoryEncoders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def group(self, methods: Sequence[str]) -> list[MethodGroup]:
        """Group methods by encoder.

        A method whose encoder cannot be opened is left out with a remark.

        Args:
            methods: The methods' names.

        Returns:
            The groups of the plan's backends, then those of methods' own encoders.
        """
        rows = {name: find_method(name) for name in methods}
        shared = [name for name, row in rows.items() if row.open_encoder is None or self._has_prompted_graph(row)]
        groups = [MethodGroup(*backend, shared, own_encoder=False) for backend in self._backends if shared]
        by_encoder: dict[OpenEncoder, list[str]] = {}
        for name, row in rows.items():
            if row.open_encoder is not None and name not in shared:
                by_encoder.setdefault(row.open_encoder, []).append(name)
        for open_encoder, names in by_encoder.items():
            try:
                groups.append(MethodGroup(*self._open_own(open_encoder), names, own_encoder=True))
            except (SettingsError, BackboneError) as error:
                self._result.remark(f"{', '.join(names)}: left out: {error}")
        return groups

    def _has_prompted_graph(self, method: Method) -> bool:
        """Return whether the deployed engine's prompted graph reads the conditions that the method learns."""
        prompted = self._plan.backends[0].prompted
        if prompted is None or method.conditions is None:
            return False
        try:
            return method.conditions(self._plan.backbone()) == prompted.conditions
        except (SettingsError, BackboneError):
            return False

    def _open_own(self, open_encoder: OpenEncoder) -> tuple[MeasuredBackend, EncodedPhotos]:
        if open_encoder not in self._own:
            encoder = open_encoder(self._plan.backbone())
            weights = encoder.weights or self._plan.encoder.weights
            backend = MeasuredBackend(encoder.name, encoder.encode, weights, "fp32")
            self._own[open_encoder] = backend, self._encode_through(backend)
        return self._own[open_encoder]

    def _encode_through(self, backend: MeasuredBackend) -> EncodedPhotos:
        return self._stack.enter_context(closing(EncodedPhotos(backend.name, backend.encode, self.photos)))

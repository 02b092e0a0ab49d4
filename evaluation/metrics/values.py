"""The values of metrics by name, and why a metric has no value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MetricValues:
    """Metrics by their names in reports; a metric without a value is NaN, and `missing` states the reason."""

    values: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def without(cls, names: Iterable[str], reason: str) -> MetricValues:
        """Return NaN for all these metrics, for one reason."""
        return cls(dict.fromkeys(names, float("nan")), dict.fromkeys(names, reason))

    def __or__(self, other: MetricValues) -> MetricValues:
        return MetricValues(self.values | other.values, self.missing | other.missing)

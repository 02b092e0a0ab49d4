"""The values of metrics by name, and the reasons why metrics have no value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MetricValues:
    """Metrics by their names in reports.

    Attributes:
        values: The metrics; one without a value is NaN.
        missing: The reason why a metric has no value, by the metric's name.
    """

    values: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def without(cls, names: Iterable[str], reason: str) -> MetricValues:
        """Return NaN for all these metrics, for one reason.

        Args:
            names: The metrics' names.
            reason: Why they have no value.
        """
        return cls(dict.fromkeys(names, float("nan")), dict.fromkeys(names, reason))

    def __or__(self, other: MetricValues) -> MetricValues:
        return MetricValues(self.values | other.values, self.missing | other.missing)

"""The options of an evaluation, from the command line and from a TOML file.

The table of methods needs torch. It is imported where it is used, so that the command can print its help without torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.files import read_toml
from goodparts.runtime.engine.shipped import SHIPPED
from goodparts.runtime.engine.spec import read_spec
from goodparts.trainer.clip.names import DEFAULT_NAME
from msgspec import Meta

from .datasets import SHOT_COUNTS

DEFAULT_METHODS = ("memory", "vvclip", "vvclip+", "coop", "promptad", "patchcore")
"""The methods that are measured by default."""
MAX_SEEDS = 100
"""The largest number of draws of shots."""

Count = Annotated[int, Meta(ge=1)]


class Sweep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """All options of an evaluation, as `goodparts evaluate --help-all` describes them.

    The keys of the TOML file, and the options of the command, have the fields' names with - instead of _.
    """

    data: str
    out: str
    layout: str | None = None
    category: tuple[str, ...] | None = None
    shots: tuple[Count, ...] = SHOT_COUNTS
    seeds: Annotated[int, Meta(ge=1, le=MAX_SEEDS)] = 1
    method: tuple[str, ...] = DEFAULT_METHODS
    engine: str | None = None
    backend: str = "auto"
    precision: Precision = "fp32"
    threads: Count | None = None
    torch: bool = False
    oracle: bool = False
    decide: bool = False
    official: str | None = None
    backbone: str | None = None
    pretrained: str | None = None
    weights: str | None = None
    memory_taps: str | None = None
    tap_outputs: bool = False
    memory_grid: Count | None = None
    neighbourhood: Count | None = None
    image_size: Count | None = None
    workers: Count = 1
    ray: str | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the methods that were asked for, with groups expanded."""
        from .methods.table import expand_methods

        return expand_methods(("decide",) if self.decide else self.method)

    @property
    def engine_folder(self) -> Path:
        """The engine that was named, otherwise the one in the results' folder or the one that ships with goodparts.

        The shipped engine is used if it suffices for the options and there is no engine in the results' folder.
        """
        beside = Path(self.out) / "engine"
        if self.engine is not None:
            return Path(self.engine)
        return SHIPPED if not beside.exists() and self._fits_shipped else beside

    @property
    def _fits_shipped(self) -> bool:
        """Whether the engine that ships with goodparts has the backbone, precision and graph that are asked for."""
        others = (
            self.pretrained, self.weights, self.memory_taps, self.memory_grid, self.neighbourhood, self.image_size,
        )  # fmt: skip
        return (
            self.backbone in (None, DEFAULT_NAME)
            and others == (None,) * len(others)
            and not self.tap_outputs
            and self.precision in read_spec(SHIPPED).graph("plain").precisions
            and not self.needs_prompted_graph
        )

    @property
    def needs_prompted_graph(self) -> bool:
        """Whether a method can use an engine's prompted graph."""
        from .methods.table import find_method

        return any(find_method(name).conditions for name in self.methods)


def read_sweep(file: Path | None, options: dict[str, Any]) -> Sweep:
    """Return the options of a TOML file, if there is one, and those of the command line, which take precedence.

    Args:
        file: The TOML file of --sweep, or None.
        options: The options that were given on the command line, by their names without --.

    Returns:
        The checked options.

    Raises:
        SettingsError: A key or a method is unknown, a value has the wrong type or is out of range, or options clash.
        FileError: The TOML file cannot be read.
    """
    from .methods.table import find_method

    values: dict[str, Any] = {}
    if file is not None:
        values = read_toml(file)
        if unknown := sorted(values.keys() - set(Sweep.__struct_encode_fields__)):
            known = " ".join(Sweep.__struct_encode_fields__)
            raise SettingsError(f"{file}: unknown key {unknown[0]!r}: the keys are {known}")
    values |= options
    try:
        sweep = msgspec.convert(values, Sweep)
    except msgspec.ValidationError as error:
        raise SettingsError(_explain(file, values, str(error))) from error
    if sweep.decide and "method" in values:
        raise SettingsError("--decide compares rows of its own: leave out --method")
    unofficial = [name for name in sweep.methods if not find_method(name).official]
    if sweep.official is not None and unofficial:
        raise SettingsError(
            f"--official: PromptAD's released code has no method {unofficial[0]}: use memory and rows of PromptAD only"
        )
    return sweep


def _explain(file: Path | None, values: dict[str, Any], message: str) -> str:
    """Add the value to msgspec's message, such as "Expected `int`, got `str` - at `$.seeds`"."""
    text, _, place = message.partition(" - at `$.")
    key = place.rstrip("`").partition("[")[0]
    prefix = "" if file is None else f"{file}: "
    if not key:
        missing = text.partition("field ")[2].strip("`")
        return f"{prefix}{missing} is needed: --{missing}, or in the file of --sweep"
    return f"{prefix}{key} = {values[key]!r}: {text[0].lower()}{text[1:]}"

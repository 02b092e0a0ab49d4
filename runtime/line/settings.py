"""The settings of a line, and the TOML file that holds them."""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import Any, get_args

import msgspec

from ..backends.session import Precision
from ..core.errors import SettingsError
from ..core.files import read_toml
from ..engine.shipped import SHIPPED
from ..recipe.settle import FEWEST_PARTS, SETTLING_PARTS
from .redact import redact_text
from .sources.source import Policy

_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one source.

    Attributes:
        name: Its name in results and messages: 1 to 64 letters, digits, underscores, dots and hyphens.
        address: Its address, in a form that sources.address accepts.
        recipe: The file of its recipe.
        policy: What happens to pictures that arrive faster than they are inspected; by default newest for cameras and
            streams, every for files and folders.
        threshold: A factor for the recipe's threshold: with 1.2, parts that score below 1.2 pass.
        pixel_threshold: A factor for the recipe's pixel threshold; by default the one for the threshold.
        roi: The region that replaces the recipe's: x, y, width and height in pixels of the frame.
        mask: The mask that replaces the recipe's: a picture that is white where to look.
        smoothing: n and m: the decision is reject while n of the last m frames are rejected.
        timeout: Seconds without a picture after which a camera or stream counts as lost.
        backlog: Whether a folder's pictures that have no line in the JSON file are inspected at the start too.
        settle: Seconds that a file in a folder must stay unchanged before it counts as written; by default the time
            that its format needs.
    """

    name: str
    address: str
    recipe: str
    policy: Policy | None = None
    threshold: float | None = None
    pixel_threshold: float | None = None
    roi: tuple[int, int, int, int] | None = None
    mask: str | None = None
    smoothing: tuple[int, int] = (1, 1)
    timeout: float = 5.0
    backlog: bool = False
    settle: float | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r}: letters, digits and _ . - are accepted, up to 64")
        n, m = self.smoothing
        if not 1 <= n <= m <= 10_000:
            raise ValueError(f"smoothing [{n}, {m}]: n of m frames are needed, n from 1 to m, as in [3, 5]")
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise ValueError(f"timeout {self.timeout}: seconds above 0 are needed")
        if self.settle is not None and not (math.isfinite(self.settle) and self.settle >= 0):
            raise ValueError(f"settle {self.settle}: 0 or more seconds are needed")


class OutputSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of the outputs, the metrics and the live page. None turns each of them off.

    Attributes:
        json: A file for JSON lines, or - for standard output.
        rejects: A folder for frames of rejects and parts to review.
        rejects_limit_mb: The megabytes that this folder may hold.
        webhook: The URL of a webhook, as outputs.webhook describes it.
        mqtt: The URL of an MQTT broker, as outputs.mqtt describes it.
        hook: A function, as module:function; outputs.hook describes it.
        metrics: The port of the metrics, on this machine's loopback address; 0 takes a free port.
        page: HOST:PORT of the live page.
        page_token: A file that holds the page's token.
        page_name: A host name under which browsers also open the page, such as a proxy's.
        page_teach: A folder of products that may be taught on the page.
    """

    json: str | None = None
    rejects: str | None = None
    rejects_limit_mb: float = 1000.0
    webhook: str | None = None
    mqtt: str | None = None
    hook: str | None = None
    metrics: int | None = None
    page: str | None = None
    page_token: str | None = None
    page_name: str | None = None
    page_teach: str | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rejects_limit_mb) and self.rejects_limit_mb > 0):
            raise ValueError(f"rejects_limit_mb {self.rejects_limit_mb}: a number above 0 is needed")
        if self.metrics is not None and not 0 <= self.metrics <= 65535:
            raise ValueError(f"metrics {self.metrics}: a port from 1 to 65535 is needed, or 0 for a free one")
        if self.page_name is not None and not _HOST_NAME.fullmatch(self.page_name):
            raise ValueError(f"page_name {self.page_name!r}: a host name is needed, such as line1.factory.example")
        if self.page_teach is not None and self.page is None:
            raise ValueError(f"page_teach {self.page_teach}: set page too, on which products are taught")


class SettlingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of settling in: a threshold is proposed from each source's first parts.

    Attributes:
        parts: The number of parts.
        take: Whether the proposed threshold is written into the recipe.
    """

    parts: int = SETTLING_PARTS
    take: bool = False

    def __post_init__(self) -> None:
        if self.parts < FEWEST_PARTS:
            raise ValueError(f"settling.parts {self.parts}: at least {FEWEST_PARTS} are needed")


class LineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a line.

    Attributes:
        source: Its sources, at least one.
        engine: The folder of its engine, by default of the engine that ships with goodparts.
        output: Where its results go, and whether it serves metrics and a page.
        backend: The inference library that runs the engine, as for Engine.open.
        precision: The precision of the engine's graph.
        threads: The most threads of the inference library; None means no bound.
        batch_ms: The most milliseconds that one pass of the encoder may take for several sources together.
        accept_signed: A file of public keys: only recipes that are signed with one of them are accepted.
        settling: Settings for settling in; None proposes no threshold.
    """

    source: tuple[SourceSettings, ...]
    engine: str = str(SHIPPED)
    output: OutputSettings = OutputSettings()
    backend: str = "auto"
    precision: Precision = "fp32"
    threads: int | None = None
    batch_ms: float = 50.0
    accept_signed: str | None = None
    settling: SettlingSettings | None = None

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError("there is no source: at least one is needed")
        names = [source.name for source in self.source]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources are called {twice[0]!r}: each source needs its own name")
        if any(source.backlog for source in self.source) and self.output.json in (None, "-"):
            raise ValueError('backlog needs the lines of a JSON file: name one, as in output.json = "results.jsonl"')
        if not (math.isfinite(self.batch_ms) and self.batch_ms >= 0):
            raise ValueError(f"batch_ms {self.batch_ms}: 0 or more milliseconds are needed")


def read_settings(file: Path) -> LineSettings:
    """Read a line's settings from a TOML file.

    Args:
        file: The file. Names of files in it are relative to its folder.

    Returns:
        The settings, with the names of files made relative to the working folder.

    Raises:
        SettingsError: The file is no TOML, or holds a setting that is unknown or has an invalid value.
        FileError: The file cannot be read.
    """
    tables = read_toml(file)
    try:
        settings = msgspec.convert(tables, LineSettings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{file}: {redact_text(_explain(str(error), tables))}") from error
    return _resolved(settings, file.parent)


_TABLES = {"": LineSettings, "source": SourceSettings, "output": OutputSettings, "settling": SettlingSettings}
"""The class of each table's settings, by the table's name."""
_KINDS = {
    "str": ("text", 'text in quotes, as in "a"'),
    "int": ("a whole number", "a whole number, as in 3"),
    "float": ("a number", "a number, as in 1.2"),
    "bool": ("a truth value", "true or false"),
    "array": ("a list", "a list of numbers, as in [3, 5]"),
    "object": ("a table", "a table"),
}
"""For each type in msgspec's messages: what a value of the type is called, and what to write for it."""
_TO_WRITE = {
    "policy": " or ".join(f'"{policy}"' for policy in get_args(Policy)),
    "precision": " or ".join(f'"{precision}"' for precision in get_args(Precision)),
    "source": "[[source]] above it, in double brackets",
}
"""What to write for the settings to which _KINDS does not apply."""
_AT = re.compile(r"(?P<fault>.*?)(?: - at `\$\.(?P<place>(?P<table>\w+).*)`)?", re.DOTALL)
"""The pattern of every message of msgspec."""
_UNKNOWN_KEY = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_KEY = re.compile(r"Object missing required field `(.*)`")
_WRONG_TYPE = re.compile(r"Expected `(\w+).*`, got `(\w+)`")
_WRONG_LENGTH = re.compile(r"Expected `array` of length (\d+), got (\d+)")


def _explain(message: str, tables: dict[str, Any]) -> str:
    """Return a message of msgspec about the tables of a settings file, in the words of such a file."""
    at = _AT.fullmatch(message)
    assert at is not None
    fault, setting, table = at["fault"], at["place"] or "", at["table"] or ""
    value: Any = tables
    for key in re.findall(r"\w+", setting):
        value = value[int(key) if isinstance(value, list) else key]
    owner = ""
    if source := re.fullmatch(r"source\[(\d+)\]\.?(.*)", setting):
        entry, setting = tables["source"][int(source[1])], source[2]
        name = entry.get("name") if isinstance(entry, dict) else None
        owner = f"source {name!r}: " if isinstance(name, str) else f"source number {int(source[1]) + 1}: "
    if unknown := _UNKNOWN_KEY.fullmatch(fault):
        known = _TABLES[table].__struct_fields__
        nearest = difflib.get_close_matches(unknown[1], known, n=1, cutoff=0.8)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known keys are {', '.join(known)}"
        return f"{owner}unknown key {unknown[1]!r}{setting and f' in {setting}'}: {hint}"
    if missing := _MISSING_KEY.fullmatch(fault):
        return f"{owner}the key {missing[1]} is missing, which is needed"
    prefix = owner + (setting and f"{setting}: ")
    shown = msgspec.json.encode(value).decode()
    if isinstance(value, dict) or "://" in shown:  # an address may hold a password
        shown = "it"
    if length := _WRONG_LENGTH.fullmatch(fault):
        return f"{prefix}{shown} has {length[2]} values; write {length[1]}"
    if types := _WRONG_TYPE.fullmatch(fault):
        kind = _KINDS[types[2]][0] if types[2] in _KINDS else f"a {types[2]}"
        return f"{prefix}{shown} is {kind}; write {_TO_WRITE.get(setting) or _KINDS[types[1]][1]}"
    if fault.startswith("Invalid enum value"):
        return f"{prefix}{shown} is not accepted; write {_TO_WRITE[setting]}"
    return owner + fault


def _resolved(settings: LineSettings, folder: Path) -> LineSettings:
    """Return the settings with a folder put before the names of their files."""

    def inside(name: str) -> str:
        return str(folder / name)

    sources = tuple(
        msgspec.structs.replace(
            source,
            recipe=inside(source.recipe),
            mask=source.mask if source.mask is None else inside(source.mask),
            address=source.address if re.match(r"genicam:|[a-z]+://", source.address) else inside(source.address),
        )
        for source in settings.source
    )
    files = {name: getattr(settings.output, name) for name in ("json", "rejects", "page_token", "page_teach")}
    output = msgspec.structs.replace(
        settings.output, **{name: inside(file) for name, file in files.items() if file not in (None, "-")}
    )
    keys = settings.accept_signed if settings.accept_signed is None else inside(settings.accept_signed)
    return msgspec.structs.replace(
        settings, engine=inside(settings.engine), source=sources, output=output, accept_signed=keys
    )

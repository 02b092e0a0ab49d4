"""What a line is made of, and the TOML file that describes it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import msgspec

from ..backends.session import Precision
from ..core.errors import SettingsError
from ..core.files import read_toml
from ..engine.shipped import SHIPPED
from ..recipe.settle import FEWEST_PARTS, SETTLING_PARTS
from .sources.source import Policy

_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One source.

    name: what results and messages call it; address: see sources.address; recipe: its file; policy: by default newest
    for cameras and streams, every for files and folders; threshold, pixel_threshold: what the recipe's own are
    multiplied by, as in 1.2 to let parts pass that score up to 1.2; roi ([x, y, width, height] in frame pixels), mask
    (a picture that is white where to look): take the place of the recipe's; smoothing: [n, m], reject while n of the
    last m frames are rejected; timeout: seconds without a picture after which a camera or stream counts as lost;
    backlog: a folder's pictures that the JSON file holds no line of are inspected at the start too; settle: seconds
    that a file in a folder must stay unchanged before it counts as written, by default as its format needs.
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
            raise ValueError(f"smoothing [{n}, {m}]: n of m frames, from 1 to m, as in [3, 5]")
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise ValueError(f"timeout {self.timeout}: seconds above 0 are needed")
        if self.settle is not None and not (math.isfinite(self.settle) and self.settle >= 0):
            raise ValueError(f"settle {self.settle}: 0 or more seconds are needed")


class OutputSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where results go, and how a line is looked at.

    json: a file, or - for standard output; rejects: a folder, and rejects_limit_mb, how many megabytes it may hold;
    webhook, mqtt: URLs (see outputs.webhook, outputs.mqtt); hook: module:function (see outputs.hook); metrics: a port
    of this machine's loopback address; page: HOST:PORT of the live page; page_token: a file with its token; page_name:
    a name under which the page is opened too, as a proxy's or one in a name server; page_teach: a folder of products
    that may be taught on the page, None where nothing may be.
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
            raise ValueError(f"page_name {self.page_name!r}: a host name is needed, as line1.factory.example")
        if self.page_teach is not None and self.page is None:
            raise ValueError(f"page_teach {self.page_teach}: products are taught on the page: name page as well")


class SettlingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settling in: after so many parts a threshold is proposed, and with take written into the recipe."""

    parts: int = SETTLING_PARTS
    take: bool = False

    def __post_init__(self) -> None:
        if self.parts < FEWEST_PARTS:
            raise ValueError(f"settling.parts {self.parts}: at least {FEWEST_PARTS} are needed")


class LineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line.

    engine: its folder, by default that of the engine that ships with goodparts; backend, precision, threads: how the
    engine is run (see Engine.open); batch_ms: milliseconds that a pass which several sources share may take (see
    shared_engine); accept_signed: a file of public keys, to take only recipes that are signed with one of them;
    settling: propose a threshold from each source's first parts.
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
            raise ValueError(f"two sources are called {twice[0]!r}: each needs a name of its own")
        if any(source.backlog for source in self.source) and self.output.json in (None, "-"):
            raise ValueError('backlog goes by the lines of a JSON file: name one, as in output.json = "results.jsonl"')
        if not (math.isfinite(self.batch_ms) and self.batch_ms >= 0):
            raise ValueError(f"batch_ms {self.batch_ms}: 0 or more milliseconds are needed")


def read_settings(file: Path) -> LineSettings:
    """Read a TOML file; names of files in it are relative to its folder.

    Raises SettingsError that tells where the file is wrong, and FileError where it cannot be read.
    """
    try:
        settings = msgspec.convert(read_toml(file), LineSettings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{file}: {str(error).replace('`$.', '`')}") from error
    return _resolved(settings, file.parent)


def _resolved(settings: LineSettings, folder: Path) -> LineSettings:
    """Return the settings with the names of their files made relative to a folder."""

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

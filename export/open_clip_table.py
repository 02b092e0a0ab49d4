"""Write the table of all open_clip configurations: `python -m goodparts.export.open_clip_table docs/open_clip.md`.

Every configuration is built without the values of its weights, and checked for support.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import open_clip
from goodparts.runtime.core.errors import BackboneError
from goodparts.trainer.clip.backbone import check_architecture

HEAD = """# Which CLIPs of open_clip can be backbones

`--backbone NAME` takes each of open_clip's configurations that is supported here, with the weights of one of its tags
(`--pretrained TAG`) or of a file (`--weights FILE`). The table gives the reason for each of the others. A few
of the supported ones were run with random weights, and none with published weights.

This page is made by `python -m goodparts.export.open_clip_table docs/open_clip.md`, for open_clip {version}:
{supported} of {all} are supported.

| name | supported | reason |
|---|---|---|
"""


def describe(name: str) -> str | None:
    """Return why a configuration is not supported; None if it is.

    Args:
        name: The configuration's name in open_clip.
    """
    try:
        check_architecture(name)
    except BackboneError as error:
        return str(error).removeprefix(f"{name}: ")
    return None


def write_table(path: Path) -> None:
    """Write the page.

    Args:
        path: The file to write.
    """
    reasons = {name: describe(name) for name in open_clip.list_models()}
    rows = [f"| {name} | {'yes' if reason is None else 'no'} | {reason or ''} |" for name, reason in reasons.items()]
    head = HEAD.format(
        version=open_clip.__version__, supported=sum(reason is None for reason in reasons.values()), all=len(reasons)
    )
    path.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    write_table(Path(sys.argv[1]))

"""Keys of measurements change with everything that determines a measurement."""

from __future__ import annotations

from importlib import metadata

import pytest
from goodparts.evaluation import keys
from goodparts.runtime.core import native


def test_the_code_digest_changes_with_the_core_and_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = keys.code_digest.__wrapped__()
    assert whole == keys.code_digest.__wrapped__()
    with monkeypatch.context() as patch:
        patch.setattr(native, "core", lambda: None)
        without = keys.code_digest.__wrapped__()
    for name in ("open_clip_torch", "timm"):
        with monkeypatch.context() as patch:
            patch.setattr(
                keys, "version", lambda library, name=name: "0" if library == name else metadata.version(library)
            )
            assert keys.code_digest.__wrapped__() not in (whole, without)
    assert (without == whole) == (native.core() is None)

from __future__ import annotations

import pytest
from goodparts.benchmarks import anople
from goodparts.benchmarks.products import draw_product
from goodparts.benchmarks.report import Findings
from goodparts.trainer.backbone import Backbone


def test_rows_stand_beside_their_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anople, "QUICK", {"steps": 1, "batch": 2})
    monkeypatch.setattr(anople, "WITHOUT", {"no prefix": {"prefix": "none"}})
    findings, backbone = Findings(), Backbone.open("demo")
    product = draw_product("gear", 1, backbone.encoder.image_size, pool=4, good=4, bad=4)
    found = anople.compare(findings, "gear", [product], backbone)
    rows = {row.name: row for row in findings.rows}
    assert len(rows) == 2 * 6
    assert all(0.0 <= row.value <= 1.0 for row in findings.rows)
    assert rows["gear, AnoPLe: image"].peer == "PromptAD"
    monkeypatch.setattr(anople, "TOGETHER", 1)
    together = Findings()
    anople.compare_together(together, {"gear": product, "again": product}, {"gear": found, "again": found}, backbone)
    assert [row.name for row in together.rows][::2] == [
        f"{name}, AnoPLe, one model for all: image" for name in ("gear", "again")
    ]
    assert together.rows[1].peer_value == found[1]
    assert rows["gear, AnoPLe, no prefix: pixel"].peer_value == rows["gear, AnoPLe: pixel"].value

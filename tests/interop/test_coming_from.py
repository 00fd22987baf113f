"""docs/coming_from.md runs, both columns, and they agree."""

import re
from pathlib import Path

import pytest
import torch

from benchmarks.speed import peers

PAGE = Path(__file__).parents[2] / "docs" / "coming_from.md"


def radius_graph(pos, r, batch, max_num_neighbors):
    """As PyG's, which needs pyg-lib."""
    near = (torch.cdist(pos, pos) < r) & (batch[:, None] == batch)
    return (near & ~torch.eye(len(pos), dtype=torch.bool)).nonzero().T


def programs(section: str) -> list[str]:
    text = PAGE.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("section", ["PyTorch Geometric", "SchNetPack"])
def test_both_columns_agree(section, tmp_path, monkeypatch):
    if section == "SchNetPack":
        peers.provide_removed_names()
        pytest.importorskip("schnetpack", exc_type=ImportError)
    else:
        monkeypatch.setattr("torch_geometric.nn.models.schnet.radius_graph", radius_graph)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict = {}
    blocks = programs(section)
    assert len(blocks) == 8
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert (tmp_path / ("model.pt" if "PyTorch" in section else "best_model")).exists()
    difference = (names["prediction"].forces - names["forces"]).abs().max()
    largest = float(names["forces"].abs().max())
    assert largest > 0
    assert difference < 1e-4 * max(1.0, largest)  # of splines

"""Flower's own SuperNode in a deployment, beside a resident device: what it is sent is plain Flower."""

import json

import pytest
from deployments import tacit


@pytest.mark.timeout(300)
def test_a_stock_supernode_and_a_resident_device_learn_together(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("stock")
    said = tacit("bench", "deployment", "--devices", "2", "--stock", "1", "--rounds", "2", "--json", folder=folder)
    found = json.loads(said)
    assert found["fleet"] == {"resident": 1, "stock": 1, "light": 0}
    assert (found["rounds"], found["completed"], found["dropped"]) == (2, [2, 2], [{}, {}])
    assert found["ledger_ok"]

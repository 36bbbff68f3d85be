"""What a run leaves, for comparing two runs byte for byte."""

from pathlib import Path

from tacit_simulations.result import WALL


def content(folder: Path) -> dict[str, bytes]:
    """Bytes by name: the result without the lines of its two wall times, the ledger and its key, the whole adapter."""
    names = ["ledger.jsonl", "ledger.pub", *(f"adapter/{path.name}" for path in sorted((folder / "adapter").iterdir()))]
    lines = (folder / "result.json").read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(tuple(f'  "{name}": '.encode() for name in WALL))]
    assert len(lines) - len(kept) == len(WALL)
    return {"result.json": b"".join(kept)} | {name: (folder / name).read_bytes() for name in names}

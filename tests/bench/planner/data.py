"""Where the public instances are: beside the checkout, in ../shared/data."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# A clone has the folder beside it; a worktree one level further up.
_PLACES = (ROOT.parent / "shared" / "data", ROOT.parent.parent / "shared" / "data")


def data_dir(name: str) -> Path:
    """Return a folder of instances; raises FileNotFoundError with where it was looked for."""
    for place in _PLACES:
        if (place / name).is_dir():
            return place / name
    looked = " and ".join(str(place / name) for place in _PLACES)
    raise FileNotFoundError(f"the instances {name} are not at {looked}; copy the folder shared/ beside the checkout")

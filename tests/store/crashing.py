"""A process that saves revisions until it is killed: `python crashing.py DIRECTORY FIRST`. Says each number on stdout
once it is kept. The text of revision N says N, and is long enough for several pages."""

from __future__ import annotations

import sys

from controller_app.store.interface import StoredPolicy
from controller_app.store.sqlite import SqliteStore


def policies(number: int) -> dict[str, StoredPolicy]:
    """What revision `number` of this process's is made of."""
    lines = "".join(f"# {line} of {number if line % 40 == number % 40 else 'all'}\n" for line in range(2000))
    return {"a": StoredPolicy("a", lines), "b": StoredPolicy("b", f"# {number}\n", "b.yaml", str(number))}


def run(directory: str, first: int) -> None:
    """Save and save."""
    store = SqliteStore(directory)
    number = first
    while True:
        kept = store.save(policies(number), f"save {number}", float(number), who="crash", plan={"changes": {}})
        print(kept, flush=True)
        store.outcome(kept, "confirmed")
        store.save_drains({"default/web1": float(number)})
        number += 1


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]))

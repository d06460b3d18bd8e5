"""The table of paths in docs/rest.md, from the app's own description: `python -m controller_app.api.document`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from controller_app.api.server import create_app

PAGE = Path(__file__).parents[2] / "docs" / "rest.md"
BEGIN, END = "<!-- paths: python -m controller_app.api.document -->", "<!-- end of paths -->"
_ORDER = ("get", "put", "post", "delete")


def table() -> str:
    """Paths, methods, parameters and what each does, as Markdown."""
    published: dict[str, Any] = create_app(cast(Any, None)).openapi()["paths"]  # nothing is asked of a controller here
    rows = ["| path | method | parameters | does |", "|---|---|---|---|"]
    for path, methods in sorted(published.items()):
        for method, said in sorted(methods.items(), key=lambda item: _ORDER.index(item[0])):
            asked = [f"`{each['name']}`" for each in said.get("parameters", ()) if each["in"] == "query"]
            does = " ".join(said["description"].split())
            rows.append(f"| `{path}` | {method.upper()} | {', '.join(asked) or '–'} | {does} |")
    return "\n".join(rows)


def with_table(page: str) -> str:
    """A page with the table as it is now between its marks. ValueError where it has no marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE)

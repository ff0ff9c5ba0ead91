"""Writes the README's table of settings from settings.py (`make format`); with --check only compares (`make check`)."""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pydantic.fields import FieldInfo  # noqa: E402

from container.modeling import overrides  # noqa: E402
from container.modeling.settings import Settings  # noqa: E402

BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def table() -> str:
    """Return the table as Markdown: a row per setting, in the order of settings.py."""
    rows = ["| setting | default | values | meaning |", "|---|---|---|---|"]
    # The project's own two names lead, as they do in config.py.
    for name, field in sorted(overrides.leaves(Settings), key=lambda leaf: "." in leaf[0]):
        shown = name if "." in name else name.upper()
        cells = (f"`{shown}`", _default(field), overrides.describe_type(field), overrides.description(field))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def main() -> int:
    """Bring the README's table up to date; return 1 if it was to be checked only and differs."""
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    text = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if text == readme.read_text(encoding="utf-8"):
        return 0
    if "--check" in sys.argv:
        print("README.md: the table of settings is not that of settings.py; run `make format`", file=sys.stderr)
        return 1
    readme.write_text(text, encoding="utf-8")
    return 0


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default()
    if field.is_required():
        return ""
    return f"`{overrides.to_text(value)}`" if value != "" else "empty"


if __name__ == "__main__":
    sys.exit(main())

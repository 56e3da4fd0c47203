"""A report as one page for a browser: its pictures first, then its text. It needs nothing but this one file."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

_PICTURE = re.compile(r"!\[([^\]]*)\]\(([\w.-]+\.svg)\)")  # as write_report puts them into report.md
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 80em; padding: 0 1em }}
figure {{ margin: 0 0 1.5em; overflow-x: auto }}
pre {{ font-size: 13px; white-space: pre-wrap }}
</style>
</head>
<body>
<h1>{title}</h1>
{pictures}
<pre>{text}</pre>
</body>
</html>
"""


def page_of(folder: Path) -> Path:
    """Write report.html beside the report.md of a folder, and return its path. Raises OSError."""
    text = (folder / "report.md").read_text(encoding="utf-8")
    headline, _, rest = text.partition("\n")
    pictures = [
        f"<figure>{(folder / name).read_text(encoding='utf-8')}<figcaption>{escape(words)}</figcaption></figure>"
        for words, name in _PICTURE.findall(text)
        if (folder / name).is_file()
    ]
    title, body = escape(headline.lstrip("# ")), escape(_PICTURE.sub("", rest).strip())
    path = folder / "report.html"
    path.write_text(_PAGE.format(title=title, pictures="\n".join(pictures), text=body), encoding="utf-8")
    return path

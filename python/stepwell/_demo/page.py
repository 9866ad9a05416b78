"""report.html: one file, no network, no script; readable in light and dark, on paper and on a
phone.

Charts are inline SVG, drawn from the same dictionary that becomes report.json. Everything that
comes from a file name is escaped.
"""

from __future__ import annotations

from html import escape
from string import Template
from typing import Any

ROW, LABEL, WIDTH = 26, 150, 760
ROWS_MAX, FILES_MAX = 12, 200

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Backup of $source</title>
<style>
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6876; --line: #d9dee5; --page: #fbfbf9; --card: #ffffff;
  --one: #b8c4d3; --two: #1f6f78; --bad: #b3372f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7eaee; --soft: #9aa5b3; --line: #333c48; --page: #14181d; --card: #1b2027;
    --one: #465364; --two: #56b8c2; --bad: #ef8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 860px; padding: 40px 20px 80px; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 40px 0 8px; }
p { margin: 6px 0; }
.soft { color: var(--soft); }
code, pre { font: 14px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
pre, .totals div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
pre { overflow-x: auto; }
.totals { display: grid; grid-template-columns: repeat(auto-fit, minmax(145px, 1fr)); gap: 12px; margin: 24px 0; }
.totals b { display: block; font-size: 24px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.bad b { color: var(--bad); }
svg { width: 100%; height: auto; display: block; }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
svg .soft { fill: var(--soft); }
.one { fill: var(--one); }
.two { fill: var(--two); }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin: 0 5px 0 12px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 5px 8px; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
td.n, th.n { text-align: right; white-space: nowrap; }
</style></head><body>
<h1>Verified backup</h1>
<p class="soft">of <code>$source</code></p>
<div class="totals">$totals</div>
<h2>Check it yourself</h2>
<p>In the folder this page is in:</p>
<pre>sha256sum -c --quiet MANIFEST.sha256     # the files are what they were
sha256sum -c --quiet BLOBS.sha256        # the blobs are what was written
zstd -dc blobs/ab/abcd….zst | sha256sum  # a blob is named by what it holds</pre>
$missed
<h2>By kind of file</h2>
<p class="soft"><span class="key" style="background:var(--one);margin-left:0"></span>size of the files
<span class="key" style="background:var(--two)"></span>kept, $compression</p>
$kinds
<h2>By size</h2>
$sizes
<h2>The largest files</h2>
$files
</body></html>
""")


def render(report: dict[str, Any]) -> str:
    """Returns the page of a report."""
    totals = report["totals"]
    ratio = totals["blob_content"] / totals["stored"] if totals["stored"] else 1.0
    cells = [
        ("", f"{totals['files']:,}", "files backed up"),
        ("", size_text(totals["size"]), "in them"),
        ("", f"{totals['blobs']:,}", "blobs: files that are equal share one"),
        ("", size_text(totals["stored"]), f"kept, {ratio:.1f} times smaller"),
        ("bad" if totals["missed"] else "", f"{totals['missed']:,}", "files missed"),
    ]
    return _PAGE.substitute(
        source=escape(report["source"]),
        compression=escape(report["compression"]),
        totals="".join(
            f'<div class="{kind}"><b>{value}</b><span class="soft">{what}</span></div>'
            for kind, value, what in cells
        ),
        missed=_missed(report["missed"]),
        kinds=_kinds(report["by_kind"]),
        sizes=_sizes(report["by_size"]),
        files=_files(report["files"]),
    )


def size_text(size: int) -> str:
    """Returns a size in bytes as a person reads it."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return (
                f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
            )
        amount /= 1024
    return f"{amount:.1f} TiB"


def _svg(rows: list[str], title: str) -> str:
    height = max(1, len(rows)) * ROW + 6
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" '
        f'role="img"><title>{title}</title>{"".join(rows)}</svg>'
    )


def _bar(y: float, height: int, share: float, kind: str) -> str:
    return (
        f'<rect class="{kind}" x="{LABEL}" y="{y:g}" '
        f'width="{max(1.0, share * (WIDTH - LABEL - 200)):.1f}" height="{height}" rx="2"/>'
    )


def _label(y: int, label: str, note: str, share: float) -> str:
    x = LABEL + max(1.0, share * (WIDTH - LABEL - 200)) + 8
    text = f'<text x="{LABEL - 10}" y="{y + 16}" text-anchor="end">{escape(label)}</text>'
    return text + f'<text class="soft" x="{x:.1f}" y="{y + 16}">{note}</text>'


def _kinds(kinds: list[dict[str, Any]]) -> str:
    shown, rest = kinds[:ROWS_MAX], kinds[ROWS_MAX:]
    if rest:
        other: dict[str, Any] = {k: sum(r[k] for r in rest) for k in ("files", "size", "stored")}
        other["kind"] = f"{len(rest)} more kinds"
        shown = [*shown, other]
    most = max((r["size"] for r in shown), default=1) or 1
    rows = []
    for i, r in enumerate(shown):
        y, share = i * ROW, r["size"] / most
        note = f"{size_text(r['size'])} → {size_text(r['stored'])}, {files_text(r['files'])}"
        label = r["kind"] if len(r["kind"]) <= 18 else r["kind"][:17] + "…"
        rows.append(
            _bar(y + 3, 9, share, "one")
            + _bar(y + 13, 9, r["stored"] / most, "two")
            + _label(y, label, note, share)
        )
    return _svg(rows, "Bytes by kind of file, before and after compression")


def _sizes(sizes: list[dict[str, Any]]) -> str:
    most = max((r["files"] for r in sizes), default=1) or 1
    rows = []
    for i, r in enumerate(sizes):
        share = r["files"] / most
        rows.append(
            _bar(i * ROW + 4, 17, share, "two")
            + _label(i * ROW, r["size"], files_text(r["files"]), share)
        )
    return _svg(rows, "Number of files by size")


def files_text(files: int) -> str:
    """Returns a number of files in words."""
    return "1 file" if files == 1 else f"{files:,} files"


def _missed(missed: list[dict[str, Any]]) -> str:
    if not missed:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(m['name'])}</code></td><td>{escape(m['why'])}</td></tr>"
        for m in missed[:FILES_MAX]
    )
    more = (
        (f'<p class="soft">and {len(missed) - FILES_MAX:,} more, in report.json</p>')
        if len(missed) > FILES_MAX
        else ""
    )
    return (
        "<h2>Not in the backup</h2><div "
        f'class="scroll"><table><tr><th>file</th><th>why</th></tr>{rows}</table></div>{more}'
    )


def _files(files: list[dict[str, Any]]) -> str:
    largest = sorted(files, key=lambda f: (-f["size"], f["name"]))[:20]
    rows = "".join(
        f'<tr><td><code>{escape(f["name"])}</code></td><td class="n">{size_text(f["size"])}</td>'
        f'<td class="n">{size_text(f["stored"])}</td><td><code>{f["sha256"][:12]}…</code></td></tr>'
        for f in largest
    )
    head = '<tr><th>file</th><th class="n">size</th><th class="n">kept</th><th>SHA-256</th></tr>'
    return (
        f'<div class="scroll"><table>{head}{rows}</table></div><p class="soft">All '
        f"{files_text(len(files))} are in report.json.</p>"
    )

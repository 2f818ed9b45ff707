"""What `benchmarks.triton` measured, as JSON, CSV, a Markdown table and plots."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = ("system", "asked", "people", "concurrency", "per_second", "p50_ms", "p95_ms", "client",
           "people_per_execution")  # fmt: skip
_COLOURS = ("#2b6cb0", "#2f855a", "#b7791f", "#c53030", "#6b46c1", "#4a5568", "#0987a0", "#97266d")


def write(result: dict[str, Any], out: Path) -> str:
    """Write OUT.json, OUT.csv, OUT.md and, where matplotlib is installed, OUT.png. Returns the Markdown."""
    out.parent.mkdir(parents=True, exist_ok=True)
    text = table(result)
    out.with_suffix(".json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    write_csv(result["rows"], out.with_suffix(".csv"))
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        print("no plots: they need matplotlib (requirements/bench.txt)", file=sys.stderr)
    else:
        plot(result["rows"], out.with_suffix(".png"))
    return text


def write_csv(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """One line a row; a column for each step of Triton, and for waiting before it."""
    stages = list(dict.fromkeys(stage for row in rows for stage in row["stages"]))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, *(f"{stage} ms" for stage in stages)])
        for row in rows:
            writer.writerow([*(row[name] for name in COLUMNS), *(row["stages"].get(stage, "") for stage in stages)])


def table(result: dict[str, Any]) -> str:
    """Markdown: a line for each system and number of people, throughput and median at each concurrency."""
    rows = result["rows"]
    counts = sorted({row["concurrency"] for row in rows})
    by = {(row["asked"], row["system"], row["concurrency"]): row for row in rows}
    clients = {row["client"] for row in rows if row["system"].startswith("Triton")}
    client = {"pa": "perf_analyzer", "python": "tritonclient"}
    lines = [
        f"{result['machine']['cpu']}, {result['machine']['cores']} cores; {result['runtime']}; {result['model']}; load "
        f"before {result['machine']['load_before']:.1f}; "
        f"Triton asked by {', '.join(client[c] for c in sorted(clients))}. "
        "Pictures a second (median ms); people that a head computed at once.",
        "",
        "| people found | " + " | ".join(f"{count} at once" for count in counts) + " |",
        "|---|" + "---:|" * len(counts),
    ]
    for asked, system in dict.fromkeys((row["asked"], row["system"]) for row in rows):
        own = [by.get((asked, system, count)) for count in counts]
        people = next(row["people"] for row in own if row is not None)
        lines.append(f"| {people}: {system} | " + " | ".join("–" if row is None else _cell(row) for row in own) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any]) -> str:
    together = "" if row["people_per_execution"] is None else f"; {row['people_per_execution']:.1f}"
    return f"{row['per_second']:.1f} ({row['p50_ms']:.1f}){together}"


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """For each number of people: latency against throughput, and the steps of Triton alone and under load."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    asked = sorted({row["asked"] for row in rows})
    figure, axes = pyplot.subplots(2, len(asked), figsize=(4.2 * len(asked), 7.5), layout="constrained", squeeze=False)
    systems = list(dict.fromkeys(row["system"] for row in rows))
    for column, people in enumerate(asked):
        above, below = axes[0][column], axes[1][column]
        own = [row for row in rows if row["asked"] == people]
        for system, colour in zip(systems, _COLOURS, strict=False):
            line = sorted((r for r in own if r["system"] == system), key=lambda r: r["concurrency"])
            above.plot([r["per_second"] for r in line], [r["p50_ms"] for r in line], "o-", color=colour, label=system)
        above.set(title=f"{own[0]['people']} people", xlabel="pictures/s", ylabel="median, ms", ylim=(0, None))
        _bars(below, [row for row in own if row["system"] == "Triton, grpc"])
    axes[0][0].legend(fontsize=7)
    axes[1][0].legend(fontsize=7)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _bars(axis: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Milliseconds by step, one stacked bar for each concurrency; waiting is hatched."""
    names = [f"{row['concurrency']}" for row in rows]
    bottom = [0.0] * len(rows)
    stages = list(dict.fromkeys(stage for row in rows for stage in row["stages"]))
    for index, stage in enumerate(stages):
        values = [row["stages"].get(stage, 0.0) for row in rows]
        waits = stage.endswith("queue")
        colour = _COLOURS[index // 2 % len(_COLOURS)]
        axis.bar(names, values, bottom=bottom, color=colour, alpha=0.45 if waits else 1, label=stage)
        bottom = [a + b for a, b in zip(bottom, values, strict=True)]
    axis.set(xlabel="at once (Triton, gRPC)", ylabel="ms of a request, by step")

#!/usr/bin/env python3
"""A short `gyre-stress tune`, and whether its report and page hold what they
should. tune_check.py PROGRAM HEAP WORK"""
import html.parser
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

FIGURES = ("throughput_per_second", "throughput_slowest", "throughput_fastest",
           "peak_bytes", "end_bytes", "p50_ns", "p99_ns", "p999_ns",
           "refills_per_million")
failures = []


def check(holds, what):
    if not holds:
        failures.append(what)


class Page(html.parser.HTMLParser):
    """What a browser would load, run and show."""

    def __init__(self):
        super().__init__()
        self.loads, self.scripts, self.ids = [], {}, set()
        self.script, self.text, self.tags = None, [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids.add(attributes.get("id"))
        for name in ("src", "href", "data", "action", "poster", "srcset"):
            if name in attributes:
                self.loads.append((tag, name, attributes[name]))
        if tag == "script":
            self.script = attributes.get("id", str(len(self.scripts)))
            self.scripts[self.script] = ""

    def handle_endtag(self, tag):
        if tag == "script":
            self.script = None

    def handle_data(self, data):
        if self.script is None:
            self.text.append(data)
        else:
            self.scripts[self.script] += data


def check_report(report, table):
    threads = report["threads"]
    loads = {load["name"]: load["threads_least"] for load in report["loads"]}
    check(set(loads) == {"replay", "small", "mixed", "remote", "churn"},
          f"loads: {sorted(loads)}")
    due = {(load, count) for load, least in loads.items() for count in threads
           if count >= least}
    stages = {point["stage"] for point in report["points"]}
    check("sizes" in stages, f"stages: {stages}")
    for point in report["points"]:
        cells = {(c["load"], c["threads"]): c for c in point["cells"]}
        check(set(cells) == due, f"{point['options']}: cells {sorted(cells)}")
        for key, cell in cells.items():
            for name in FIGURES:
                check(isinstance(cell.get(name), (int, float)),
                      f"{point['options']} {key}: no {name}")
            check(cell["runs"] >= 1, f"{key}: {cell['runs']} runs")
            check(cell["throughput_slowest"] <= cell["throughput_per_second"]
                  <= cell["throughput_fastest"], f"{key}: no median")
            check(cell["throughput_per_second"] > 1000, f"{key}: nothing ran")
            check(cell["peak_bytes"] >= cell["end_bytes"] > 0,
                  f"{key}: peak {cell['peak_bytes']}, "
                  f"end {cell['end_bytes']}")
            check(cell["p50_ns"] <= cell["p99_ns"] <= cell["p999_ns"]
                  and cell["p999_ns"] > 0, f"{key}: quantiles")
            check(cell["refills_per_million"] > 0, f"{key}: no refill")
    sizes = [point["values"]["memory.thread_cache"]
             for point in report["points"] if point["stage"] == "sizes"]
    preset = {knob["name"]: knob["preset"] for knob in report["knobs"]}
    check(sizes == sorted(set(sizes)) and len(sizes) >= 4, f"sizes {sizes}")
    check(preset["memory.thread_cache"] in sizes, "the default is not swept")
    best = report["recommended"]
    if best["confirmed"]:
        pair = [p for p in report["points"] if p["stage"] == "confirm"]
        check(len(pair) == 2 and all(
            c["runs"] == report["pairs"] for p in pair for c in p["cells"]),
            "the pairs")
        for name in ("throughput", "peak", "end", "p99", "refills"):
            gain = best[name]
            check(gain["low"] <= gain["mean"] <= gain["high"],
                  f"{name}: {gain}")
        slower = best["throughput"]["high"] < 0
        check(not slower or best["keep_defaults"],
              "a loss is recommended")
    check(f"recommended: GYRE_OPTIONS={best['options']}" in table,
          "the table's last line")


def check_taken(program, heap, options):
    """gyre takes the line from the environment, and not a broken one."""
    for line, taken in ((options, True), (options + ",no.such=1", False)):
        run = subprocess.run(
            [program, "replay", heap, "--rounds", "1", "--threads", "1",
             "--mix", "private", "--seed", "1"], capture_output=True,
            text=True, timeout=60, check=False,
            env={**os.environ, "GYRE_OPTIONS": line})
        check((run.returncode == 0) == taken,
              f"GYRE_OPTIONS={line}: status {run.returncode}, {run.stderr}")


def check_page(text, report, name):
    page = Page()
    page.feed(text)
    page.close()
    check(page.loads == [], f"the page loads {page.loads}")
    check(not re.search(r"@import|url\(", text.split("</style>")[0]),
          "the style loads something")
    check(len(page.scripts) == 3, f"{len(page.scripts)} scripts")
    check(json.loads(page.scripts.get("data", "null")) == report,
          "the page's data are not the report's")
    check("Chart.js v" in text and "new Chart(" in text, "no Chart.js")
    check({"throughput", "memory", "latency", "refills"} <= page.ids,
          "a plot is missing")
    shown = "".join(page.text)
    check(name in shown, f"the heap's name is not shown: {name}")
    check("{{" not in shown.replace(name, ""), "a place is left empty")
    check("evil" not in page.tags, "the heap's name became a tag")
    options = report["recommended"]["options"]
    check(not options or f"GYRE_OPTIONS={options}" in shown,
          "the recommended line is not shown")
    for point in report["points"]:
        check(point["options"] in shown, f"{point['options']} is not shown")


def main():
    program, heap, work = sys.argv[1:4]
    work = pathlib.Path(work)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    # a name that would do harm where it is not escaped
    name = "<evil>&\"'`{{data}}-->\u00e9.heapsnapshot.gz"
    copy = work / name
    shutil.copy(heap, copy)
    # a machine that is busy with something else gets more time
    for budget in ("20", "100"):
        run = subprocess.run(
            [program, "tune", str(copy), "--threads", "1,2", "--seconds",
             "0.01", "--budget", budget, "--seed", "1", "--json",
             str(work / "report.json"), "--html", str(work / "page.html")],
            capture_output=True, text=True, timeout=200, check=False)
        if "are not enough" not in run.stderr:
            break
    check(run.returncode == 0, f"status {run.returncode}: {run.stderr}")
    if run.returncode == 0:
        check("seed 1" in run.stderr and "left" in run.stderr,
              f"no progress: {run.stderr}")
        check("\x1b" not in run.stderr and "\r" not in run.stderr,
              "a bar where there is no terminal")
        report = json.loads((work / "report.json").read_text("utf-8"))
        check_report(report, run.stdout)
        check_taken(program, heap, report["recommended"]["options"])
        if not report["recommended"]["options"]:
            check_taken(program, heap, report["points"][0]["options"])
        check_page((work / "page.html").read_text("utf-8"), report, name)
    for failure in failures:
        print("tune_check:", failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""Tables, plots and generated sections of the documents."""

import json
import re
from html import escape
from pathlib import Path
from statistics import median

from suite import HERE, MEASUREMENTS, METRICS

ROOT = HERE.parent
FOLDER = ROOT / "docs" / "internals" / "performance"
RESULTS = FOLDER / "results.json"
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")))
MAX_BUSY_PROCESSORS = 0.2
RATIO_METRICS = 2       # how many metrics of a measurement have a column with ratios


class Series:
    """The values of one metric in all rounds of a configuration. A failed round has the value None."""

    def __init__(self, runs, metric):
        self.values = [None if "error" in run else metric.value(run) for run in runs]

    def ratio_to(self, other):
        """Returns the ratio of each round. The two values of a round were measured shortly after each other."""
        series = Series([], None)
        series.values = [own / their if own and their else None for own, their in zip(self.values, other.values)]
        return series

    @property
    def known(self):
        return [value for value in self.values if value is not None]

    def text(self, digits, unit=""):
        if not self.known:
            return "–"
        middle, low, high = (f"{value:,.{digits}f}" for value in (median(self.known), min(self.known), max(self.known)))
        return f"{middle}{' ' + unit if unit else ''}" + (f" [{low}..{high}]" if len(self.known) > 1 else "")


def rows(measurement, runs):
    """Yields one row per configuration: the configuration, a series for each metric, and a series of ratios for each of the first metrics."""
    metrics = [METRICS[name] for name in measurement.metrics]
    reference = [Series(runs.get(measurement.reference.name, []), metric) for metric in metrics]
    for configuration in measurement.configurations:
        if configuration.name not in runs:
            continue
        series = [Series(runs[configuration.name], metric) for metric in metrics]
        is_reference = configuration is measurement.reference
        yield configuration, series, [None if is_reference else reference[i].ratio_to(series[i]) for i in range(min(RATIO_METRICS, len(metrics)))]


def cells(measurement, runs):
    """Returns the header and the rows of a table, as texts."""
    metrics = [METRICS[name] for name in measurement.metrics]
    header = ["server", *(metric.title for metric in metrics), *(f"ratio: {metric.title}" for metric in metrics[:RATIO_METRICS])]
    table = [header]
    for configuration, series, ratios in rows(measurement, runs):
        table.append([configuration.title, *(one.text(metric.digits, metric.unit) for metric, one in zip(metrics, series)),
                      *("1" if ratio is None else ratio.text(2) for ratio in ratios)])
    return table


def console_table(measurement, runs, seconds):
    table = [[re.sub(r"[*`]", "", cell) for cell in row] for row in cells(measurement, runs)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]
    return f"\n{measurement.name}: {measurement.title} (measured in {seconds:.0f} s)\n" + "\n".join("  " + line for line in lines)


def failures(measurement, runs):
    for configuration in measurement.configurations:
        errors = [run["error"] for run in runs.get(configuration.name, []) if "error" in run]
        if errors:
            yield f"{configuration.title}: {len(errors)} of {len(runs[configuration.name])} runs failed. {errors[0]}"


def markdown(measurement, result):
    runs = result["runs"]
    table = cells(measurement, runs)
    messages = f"{round(measurement.messages * result['environment']['scale']):,}"
    lines = [f"### {measurement.title}", "", wrap(measurement.text.format(messages=messages), indent=""), "", "| " + " | ".join(table[0]) + " |", "|" + "---|" * len(table[0])]
    lines += ["| " + " | ".join(row) + " |" for row in table[1:]]
    lines += [line for failure in failures(measurement, runs) for line in ("", f"**Failed:** {failure}")]
    if measurement.plot:
        names = " and ".join(METRICS[name].title for name in measurement.plot)
        lines += ["", f"![{names} of each server](performance/{measurement.name}.svg)"]
    return "\n".join(lines)


# Plots

BAR, GAP, LABEL_WIDTH, PLOT_WIDTH, VALUE_WIDTH = 18, 10, 290, 330, 190
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600 }
  .bar { fill: #8c959f } .own { fill: #0969da } .range { stroke: #24292f; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .bar { fill: #6e7681 } .own { fill: #2f81f7 } .range { stroke: #e6edf3 }
  }"""


def plot(measurement, runs):
    """Draws bars with medians, and lines from the minimum to the maximum. The colors follow the color scheme of the reader."""
    parts, y = [], 0
    for name in measurement.plot:
        metric = METRICS[name]
        bars = [(configuration, Series(runs[configuration.name], metric)) for configuration in measurement.configurations
                if configuration.name in runs]
        bars = [(configuration, series) for configuration, series in bars if series.known]
        if not bars:
            continue
        limit = max(max(series.known) for _, series in bars) or 1
        preference = "more is better" if metric.more_is_better else "less is better"
        y += 20
        parts.append(f'<text class="title" x="0" y="{y}">{escape(metric.title)} ({metric.unit}; {preference})</text>')
        y += 10
        for configuration, series in bars:
            own = configuration.title.startswith("**")
            label, middle = re.sub(r"[*`]", "", configuration.title), y + BAR / 2
            width, low, high = (max(value, 0) / limit * PLOT_WIDTH for value in (median(series.known), min(series.known), max(series.known)))
            parts.append(f'<text x="{LABEL_WIDTH - 8}" y="{middle + 4.5:.1f}" text-anchor="end">{escape(label)}</text>')
            parts.append(f'<rect class="{"own" if own else "bar"}" x="{LABEL_WIDTH}" y="{y}" width="{max(width, 1):.1f}" height="{BAR}" rx="2"/>')
            if len(series.known) > 1:
                parts.append(f'<line class="range" x1="{LABEL_WIDTH + low:.1f}" x2="{LABEL_WIDTH + high:.1f}" y1="{middle}" y2="{middle}"/>')
            parts.append(f'<text x="{LABEL_WIDTH + max(width, high) + 8:.1f}" y="{middle + 4.5:.1f}">{escape(series.text(metric.digits))}</text>')
            y += BAR + GAP
        y += 8
    total = LABEL_WIDTH + PLOT_WIDTH + VALUE_WIDTH
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {y}" width="{total}" height="{y}" role="img">\n'
            f"<title>{escape(measurement.title)}</title>\n<style>{STYLE}\n</style>\n" + "\n".join(parts) + "\n</svg>\n")


# Generated sections

def ratio(results, measurement_name, configuration_name, metric_name, inverse=False):
    """Returns the median ratio of this library to another configuration. Returns None without results."""
    measurement = next(one for one in MEASUREMENTS if one.name == measurement_name)
    runs = results.get(measurement_name, {}).get("runs", {})
    if configuration_name not in runs or measurement.reference.name not in runs:
        return None
    metric = METRICS[metric_name]
    known = Series(runs[measurement.reference.name], metric).ratio_to(Series(runs[configuration_name], metric)).known
    if not known:
        return None
    return 1 / median(known) if inverse else median(known)


def value(results, measurement_name, configuration_name, metric_name):
    runs = results.get(measurement_name, {}).get("runs", {}).get(configuration_name, [])
    known = Series(runs, METRICS[metric_name]).known
    return median(known) if known else None


# Each item is a sentence with placeholders, and a function that returns the numbers. If a number is missing, the summary omits the sentence.
CLAIMS = (
    ("With 200 connections and as many messages as possible, the server makes {:.1f} million deliveries per second: {:.2f} times the rate "
     "of Bun, whose core is written in C++, and {:.1f} times the rate of SignalR.",
     lambda r: (value(r, "saturated", "ours", "rate"), ratio(r, "saturated", "bun", "rate"), ratio(r, "saturated", "signalr-json", "rate"))),
    ("A delivery then needs {:.2f} times the CPU time of Bun and {:.2f} times the CPU time of SignalR.",
     lambda r: (ratio(r, "saturated", "bun", "cpu"), ratio(r, "saturated", "signalr-json", "cpu"))),
    ("With 200 connections and one message at a time, a delivery needs {:.2f} times the CPU time of a bare C loop, {:.2f} times the CPU time "
     "of Bun and {:.2f} times the CPU time of SignalR.",
     lambda r: tuple(ratio(r, "single", name, "cpu") for name in ("loop", "bun", "signalr-json"))),
    ("With 10,000 connections and one message at a time, the p99 of the latency is {:.2f} times that of Bun and {:.2f} times that of SignalR.",
     lambda r: tuple(ratio(r, "single-10000", name, "p99") for name in ("bun", "signalr-json"))),
    ("With TLS, 200 connections and as many messages as possible, a delivery needs {:.2f} times the CPU time of Bun.",
     lambda r: (ratio(r, "tls", "bun", "cpu"),)),
    ("With 10,000 idle connections, each connection needs {:.1f} KB, with Bun {:.1f} KB and with SignalR {:.1f} KB.",
     lambda r: tuple(value(r, "idle", name, "idle") for name in ("ours", "bun", "signalr-json"))),
)


def summary(results):
    lines = [f"- {text.format(*numbers)}" for text, numbers in ((text, numbers(results)) for text, numbers in CLAIMS)
             if all(number is not None for number in numbers)]
    return "\n".join(wrap(line) for line in lines)


def wrap(line, width=138, indent="  "):
    """Wraps a paragraph or a list item. The indent is for all lines except the first line."""
    words, output = line.split(" "), [""]
    for word in words:
        if len(output[-1]) + len(word) + 1 > width:
            output.append(indent + word)
        else:
            output[-1] += word if not output[-1] else " " + word
    return "\n".join(output)


def describe(facts):
    busy = "" if facts["busy_processors"] <= MAX_BUSY_PROCESSORS else f" Other programs used {facts['busy_processors']:.1f} processors."
    return (f"{facts['date']}, commit {facts['commit']}: {facts['processors']} processors ({facts['processor']}), {facts['memory_gb']} GB of memory, "
            f"{facts['system']}, Linux {facts['kernel']}, .NET {facts['dotnet']}, Bun {facts['bun']}, Node.js {facts['node']} with ws {facts['ws']}, "
            f"FastAPI {facts['fastapi']}. {facts['rounds']} rounds. Factor for the number of messages: {facts['scale']:g}.{busy}")


def environments(results):
    groups = {}
    for measurement in MEASUREMENTS:
        if measurement.name in results:
            groups.setdefault(describe(results[measurement.name]["environment"]), []).append(measurement.title)
    if not groups:
        return ""
    if len(groups) == 1:
        return wrap(next(iter(groups)), indent="")
    return "\n".join(wrap(f"- {description} Measurements: {'; '.join(titles)}.") for description, titles in groups.items())


def section(name, results, elsewhere):
    return generate(name, results, elsewhere) or "Run `benchmarks/run.sh` on an idle machine to write this section."


def generate(name, results, elsewhere):
    if name == "summary":
        return summary(results)
    if name == "machine":
        return environments(results)
    if name == "measurements":
        return "\n\n".join(markdown(measurement, results[measurement.name]) for measurement in MEASUREMENTS
                           if measurement.name in results and measurement.name not in elsewhere)
    measurement = next((one for one in MEASUREMENTS if one.name == name), None)
    if measurement is None:
        raise SystemExit(f"A document contains the unknown generated section {name}.")
    return markdown(measurement, results[name]) if name in results else ""


SECTION = re.compile(r"(<!-- benchmarks/run\.sh writes this section: (\S+) -->\n).*?(<!-- end of section -->)", re.DOTALL)


def read_results():
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def format_results(results):
    """Formats the results with one line per run, so that a diff of the file is readable."""
    parts = []
    for name, result in sorted(results.items()):
        runs = ",\n".join(f"   {json.dumps(configuration)}: [\n" + ",\n".join("    " + json.dumps(run) for run in values) + "\n   ]"
                          for configuration, values in result["runs"].items())
        parts.append(f' {json.dumps(name)}: {{\n  "environment": {json.dumps(result["environment"])},\n  "runs": {{\n{runs}\n  }}\n }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def write_documents(results):
    """Writes the results, the plots and the generated sections."""
    known = {measurement.name for measurement in MEASUREMENTS}
    results = {name: result for name, result in results.items() if name in known}
    FOLDER.mkdir(exist_ok=True)
    RESULTS.write_text(format_results(results), encoding="utf-8")
    for file in FOLDER.glob("*.svg"):
        file.unlink()
    for measurement in MEASUREMENTS:
        if measurement.plot and measurement.name in results:
            (FOLDER / f"{measurement.name}.svg").write_text(plot(measurement, results[measurement.name]["runs"]), encoding="utf-8")
    write_sections(results)


def write_sections(results):
    texts = {document: document.read_text(encoding="utf-8") for document in DOCUMENTS}
    elsewhere = {match[2] for text in texts.values() for match in SECTION.finditer(text)}
    for document, text in texts.items():
        written = SECTION.sub(lambda match: match[1] + section(match[2], results, elsewhere) + "\n" + match[3], text)
        if written != text:
            document.write_text(written, encoding="utf-8")
            print(f"Wrote {document.relative_to(ROOT)}")

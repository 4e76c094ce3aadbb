"""Writes the results of a paper's rows for people: a table beside the published one, claims with intervals, a plot."""

import html

import numpy as np

SCALE = {"ap50": 100, "sensitivity_at_1": 100, "dice": 100, "rve": 100, "iou": 100, "recall": 100, "precision": 100}
# So are the figures of lesions, whatever their size.
SCALE.update({f"lesion_{figure}{size}": 100 for figure in ("recall", "precision", "f1", "dice") for size in ("", "_small", "_medium", "_large")})


def table(paper, systems, figures, place):
    """Returns the table of rows as the paper has it: means over cases of means over seeds, ± the deviation over cases."""
    published = {row["system"]: row.get("published", {}) for row in paper.rows}
    beside = place == "box"
    columns = {metric: title for metric, title in paper.metrics.items()}
    if len(paper.labels) > 1:
        columns = {f"{metric} {label}": f"{title}, {label}" for metric, title in columns.items() for label in paper.labels}
    head = ["system", "seeds", "cases", *columns.values()]
    if beside:
        head += [f"published {title}" for title in columns.values()]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for system in systems:
        of = {metric: of_cases(figures, system, metric, place) for metric in columns}
        if not any(len(one) for one in of.values()):
            continue
        seeds = {seed for metric in columns for seed, _ in figures.get((system, metric, place), {})}
        cells = [system, str(len(seeds)), str(max(len(one) for one in of.values()))]
        for metric in columns:
            scale, one = SCALE.get(metric.split()[0], 1), of[metric]
            valued = one[~np.isnan(one)]
            if len(valued) == 0:
                cells.append("–")
                continue
            missing = f" (of {len(valued)})" if len(valued) < len(one) else ""
            cells.append(f"{scale * valued.mean():.2f} ± {scale * valued.std():.2f}{missing}")
        if beside:
            cells += [str(published[system].get(metric, "–")) if system in published else "–" for metric in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def pooled(paper, systems, found):
    """Figures over all test cases together, means over seeds; nothing where no row has any."""
    columns = {metric: title for metric, title in paper.metrics.items() if any(key[1] == metric for key in found)}
    if not columns:
        return ""
    lines = ["| system | seeds | " + " | ".join(columns.values()) + " |", "|" + " --- |" * (2 + len(columns))]
    for system in systems:
        of = {metric: [value for key, value in sorted(found.items()) if key[:2] == (system, metric)] for metric in columns}
        seeds = max(len(values) for values in of.values())
        if seeds == 0:
            continue
        cells = [system, str(seeds)]
        for metric, values in of.items():
            known = [value for value in values if value is not None]
            cells.append(f"{SCALE.get(metric, 1) * sum(known) / len(known):.2f}" if known else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def of_cases(figures, system, metric, place):
    """Returns the mean over seeds of each case, with NaN where no seed has a figure."""
    by_case = {}
    for (_, case), value in figures.get((system, metric, place), {}).items():
        by_case.setdefault(case, []).append(value)
    with np.errstate(invalid="ignore"):
        return np.array([np.nan if np.isnan(values).all() else np.nanmean(values) for values in by_case.values()])


def claims(found):
    """Returns the claims as a table."""
    lines = ["| claim | difference | 95 % | p (Holm) | cases | verdict |", "| --- | --- | --- | --- | --- | --- |"]
    for claim in found:
        if claim["difference"] is None:
            lines.append(f"| {claim['text']} | – | – | – | 0 | {claim['verdict']} |")
            continue
        scale = SCALE.get(claim["metric"], 1)
        low, high = (scale * end for end in claim["interval"])
        lines.append(
            f"| {claim['text']} | {scale * claim['difference']:+.2f} | {low:+.2f} to {high:+.2f} "
            f"| {claim['p_holm']:.3f} | {counted(claim)} | {claim['verdict']} |"
        )
    return "\n".join(lines) + "\n"


def counted(claim):
    """Returns the number of cases behind a difference, and of how many: cases in which one system has no figure are left
    out, which favours that system, so the table shows it."""
    text = str(claim["cases"])
    if claim["missing"]:
        text += f" of {claim['cases'] + claim['missing']}"
    told = [(claim["partly"], "in some seeds only"), (claim["seeds_left_out"], "seeds of one system left out")]
    return ", ".join([text, *(f"{count} {what}" for count, what in told if count)])


def headroom(paper, closed):
    """Returns the table of the share of the way from one row to another that each row goes."""
    lines = [f"| system | share of the way from {paper.headroom['from']} to {paper.headroom['to']} | 95 % |", "| --- | --- | --- |"]
    for system, one in closed.items():
        low, high = one["interval"]
        lines.append(f"| {system} | {one['share']:.2f} | {low:.2f} to {high:.2f} |")
    return "\n".join(lines) + "\n"


def forest(found):
    """Returns the differences of the claims, with their intervals, as an SVG."""
    shown = [claim for claim in found if claim["difference"] is not None]
    if not shown:
        return ""
    scaled = [
        (claim, *(SCALE.get(claim["metric"], 1) * x for x in (claim["difference"], *claim["interval"]))) for claim in shown
    ]
    widest = max(max(abs(low), abs(high)) for _, _, low, high in scaled) or 1.0
    x = lambda value: 600 + 180 * value / widest  # noqa: E731
    height = 40 + 34 * len(scaled)
    parts = [f'<line x1="{x(0)}" y1="20" x2="{x(0)}" y2="{height - 16}" stroke="#999"/>']
    for number, (claim, mean, low, high) in enumerate(scaled):
        y = 40 + 34 * number
        words = html.escape(claim["text"])
        parts.append(f'<text x="8" y="{y + 4}" font-size="10">{words}</text>')
        parts.append(f'<line x1="{x(low):.1f}" y1="{y}" x2="{x(high):.1f}" y2="{y}" stroke="#1f5fa8" stroke-width="2"/>')
        parts.append(f'<circle cx="{x(mean):.1f}" cy="{y}" r="4" fill="#1f5fa8"/>')
    return svg(800, height, parts)


def curve(points, axis, name):
    """Returns a plot of a metric over a swept value as an SVG: a dot for each seed, and a line through their means."""
    points = sorted((value, seeds) for value, seeds in points if seeds)
    if len(points) < 2:
        return ""
    every = [dice for _, seeds in points for dice in seeds]
    margin = max(max(every) - min(every), 0.01) / 10
    low, high = min(every) - margin, max(every) + margin
    first, last = points[0][0], points[-1][0]
    at = lambda value, y: (70 + 480 * (value - first) / (last - first), 250 - 220 * (y - low) / (high - low))  # noqa: E731
    parts = ['<path d="M70 30V250H550" fill="none" stroke="#444"/>']
    line = []
    for value, seeds in points:
        for one in seeds:
            cx, cy = at(value, one)
            parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3" fill="#888"/>')
        line.append("{:.1f},{:.1f}".format(*at(value, sum(seeds) / len(seeds))))
        parts.append(f'<text x="{at(value, low)[0]:.1f}" y="272" text-anchor="middle">{value}</text>')
    parts.append(f'<polyline points="{" ".join(line)}" fill="none" stroke="#1f5fa8" stroke-width="2"/>')
    for step in range(5):
        y = low + (high - low) * step / 4
        parts.append(f'<text x="62" y="{at(first, y)[1] + 4:.1f}" text-anchor="end">{y:.3f}</text>')
    parts.append(f'<text x="310" y="294" text-anchor="middle">{html.escape(axis)}; {html.escape(name)}</text>')
    return svg(580, 304, parts)


def svg(width, height, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="#fff"/>', *parts, "</svg>", ""])


def page(title, sections):
    """Returns one HTML page of headings, tables from Markdown, and plots."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for heading, text in sections:
        body.append(f"<h2>{html.escape(heading)}</h2>")
        body.append(text if text.startswith("<svg") else markdown(text))
    style = "body{font:15px sans-serif;margin:2em auto;max-width:70em}td,th{padding:.2em .7em;text-align:left}"
    style += "table{border-collapse:collapse}tr{border-bottom:1px solid #ddd}svg{max-width:50em}"
    return f"<!doctype html><meta charset='utf-8'><title>{html.escape(title)}</title><style>{style}</style>{''.join(body)}\n"


def markdown(text):
    """Returns a table, or a paragraph, of Markdown as HTML."""
    lines = text.strip().splitlines()
    if not lines or not lines[0].startswith("|"):
        return f"<p>{html.escape(text)}</p>"
    cells = lambda line, tag: "".join(f"<{tag}>{html.escape(c.strip())}</{tag}>" for c in line.strip("|").split("|"))  # noqa: E731
    rows = "".join(f"<tr>{cells(line, 'td')}</tr>" for line in lines[2:])
    return f"<table><tr>{cells(lines[0], 'th')}</tr>{rows}</table>"

"""Plots as plain SVG, readable on light and dark pages. Colours are classes with a dark variant,
not variables, because not every viewer knows those."""

import math
from html import escape

from .contestants import LABELS

WIDTH = 960
# class: (light, dark)
INK = {
    "paper": ("#ffffff", "#14171c"), "panel": ("#f5f7fa", "#1c2027"),
    "rule": ("#dfe4ea", "#323843"), "strong": ("#171b22", "#eef1f5"),
    "soft": ("#667080", "#9aa4b2"),
}
SERIES = {
    "pgqueue": ("#1f6feb", "#5b9dff"), "skip": ("#c77d0a", "#e8a33d"),
    "wrapper": ("#c23a54", "#f0718a"), "pgq": ("#2e8b57", "#62c48d"),
    "insert": ("#8a6fc0", "#b39ae6"), "select1": ("#98a2b0", "#7a8494"),
    "commit": ("#7d8793", "#5f6975"),
}


def style():
    def rules(n):
        found = [f".{name}{{fill:{pair[n]}}}" for name, pair in {**INK, **SERIES}.items()]
        found += [f".l-{name}{{stroke:{pair[n]}}}" for name, pair in {**INK, **SERIES}.items()]
        return "".join(found)
    return ("<style>text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',"
            "sans-serif;font-size:12.5px}"
            ".h1{font-size:19px;font-weight:650}.h2{font-size:13.5px;font-weight:600}"
            ".small{font-size:11.5px}.bold{font-weight:600}.curve{fill:none;stroke-width:2;"
            "stroke-linejoin:round}.thin{stroke-width:1}.faint{opacity:.75}"
            + rules(0) + "@media (prefers-color-scheme:dark){" + rules(1) + "}</style>")


class Drawing:
    def __init__(self, title, subtitle):
        self.title = title
        self.parts = []
        self.height = 74
        self.text(28, 36, title, "strong h1")
        self.text(28, 57, subtitle, "soft small")

    def text(self, x, y, words, kind, anchor="start"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" '
                          f'text-anchor="{anchor}">{escape(words)}</text>')

    def box(self, x, y, w, h, kind, radius=0.0):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(w, 0):.1f}" '
                          f'height="{h:.1f}" rx="{radius:g}" class="{kind}"/>')

    def line(self, x1, y1, x2, y2, kind, dash=""):
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                          f'class="{kind}"{dashed}/>')

    def curve(self, points, kind, dash=""):
        if len(points) < 2:
            return
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        path = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<path d="{path}" class="curve {kind}"{dashed}/>')

    def write(self, path):
        with open(path, "w", encoding="utf-8") as f:
            f.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height:.0f}" '
                    f'width="{WIDTH}" height="{self.height:.0f}" role="img">'
                    f"<title>{escape(self.title)}</title>{style()}"
                    f'<rect width="{WIDTH}" height="{self.height:.0f}" rx="8" class="paper"/>\n')
            f.write("\n".join(self.parts))
            f.write("\n</svg>\n")


def short(value):
    """1234567 as 1.23 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def bars(path, title, subtitle, panels):
    """panels: (title, [(contestant, label, value, note)]), in two columns, a bar a row."""
    d = Drawing(title, subtitle)
    gap, width, step = 20, (WIDTH - 56 - 20) / 2, 27
    y = [d.height, d.height]
    for heading, rows in panels:
        column = 0 if y[0] <= y[1] else 1
        x, top = 28 + column * (width + gap), y[column]
        height = 42 + step * len(rows) + 8
        d.box(x, top, width, height, "panel", 8)
        d.text(x + 14, top + 25, heading, "strong h2")
        most = max(value for _, _, value, _ in rows) or 1
        # What the longest note leaves.
        room = width - 142 - 66 - max([6.1 * len(note) for *_, note in rows] + [6])
        for n, (who, label, value, note) in enumerate(rows):
            line = top + 42 + n * step
            weight = " bold" if who == "pgqueue" else ""
            d.text(x + 134, line + 15, label, "strong small" + weight, "end")
            length = max(2.0, room * value / most)
            d.box(x + 142, line + 2, length, 18, who, 3)
            d.text(x + 148 + length, line + 15.5, short(value), "strong small" + weight)
            d.text(x + width - 12, line + 15.5, note, "soft small", "end")
        y[column] = top + height + gap
    d.height = max(y) + 4
    d.write(path)


def log_scale(low, high, start, end):
    """A function from value to place, and the round values in between."""
    a, b = math.log10(low), math.log10(high)
    if b - a < 0.3:
        a, b = a - 0.15, b + 0.15
    ticks = [m * 10 ** e for e in range(math.floor(a), math.ceil(b) + 1)
             for m in ((1,) if b - a > 2.2 else (1, 2, 5)) if a <= math.log10(m * 10 ** e) <= b]
    return (lambda v: start + (math.log10(max(v, low / 10)) - a) / (b - a) * (end - start)), ticks


def legend(d, names, y, with_dash):
    x = 28
    for name in names:
        d.line(x, y - 4, x + 22, y - 4, f"curve l-{name}")
        d.text(x + 28, y, LABELS[name], "strong small")
        x += 52 + 6.6 * len(LABELS[name])
    if with_dash:
        d.text(WIDTH - 28, y, "solid: horizon held · dashed: not held", "soft small", "end")


def curves(path, title, subtitle, panels, x_label):
    """panels: (title, unit, [(contestant, dashed, [(x, y)])]); one over the other, y in logs, one
    x axis."""
    d = Drawing(title, subtitle)
    names = list(dict.fromkeys(who for _, _, series in panels for who, _, _ in series))
    legend(d, names, d.height + 12, True)
    top, height, left, right = d.height + 34, 210, 84, WIDTH - 108
    far = max((x for _, _, series in panels for _, _, points in series for x, _ in points),
              default=1)
    for heading, unit, series in panels:
        values = [v for _, _, points in series for _, v in points if v > 0]
        if not values:
            continue
        # What starts from nothing must not flatten the rest.
        values = [v for v in values if v >= max(values) / 1000]
        d.text(28, top + 10, heading, "strong h2")
        base, ceiling = top + height, top + 24
        scale, ticks = log_scale(min(values) / 1.15, max(values) * 1.15, base, ceiling)
        for tick in ticks:
            d.line(left, scale(tick), right, scale(tick), "l-rule thin")
            d.text(left - 8, scale(tick) + 4, short(tick) + unit, "soft small", "end")
        step = next(s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if far / s <= 10 or s == 600)
        for second in range(0, int(far) + 1, step):
            at = left + (right - left) * second / far
            d.text(at, base + 17, f"{second}", "soft small", "middle")
        ends = []
        for who, dashed, points in sorted(series, key=lambda s: (s[0] == "pgqueue", not s[1])):
            places = [(left + (right - left) * x / far, scale(v)) for x, v in points if v >= min(values)]
            d.curve(places, f"l-{who}" + (" faint" if dashed else ""), "2 5" if dashed else "")
            if places and not dashed:
                tail = sorted(v for _, v in points[-max(1, len(points) // 5):])
                ends.append([scale(max(tail[len(tail) // 2], min(values))), who,
                             short(tail[len(tail) // 2]) + unit])
        spread(ends, 15)
        for at, who, words in ends:
            d.text(right + 10, at + 4, words, f"{who} small bold")
        top = base + 44
    d.text((left + right) / 2, top - 8, x_label, "soft small", "middle")
    d.height = top + 12
    d.write(path)


def spread(ends, least):
    """Move labels apart so that none covers another."""
    ends.sort()
    for a, b in zip(ends, ends[1:]):
        b[0] = max(b[0], a[0] + least)


def distribution(path, title, subtitle, probes, limits):
    """probes: (label, contestant class, sorted ms); the share of samples within a time.
    limits: (ms, label)."""
    d = Drawing(title, subtitle)
    left, right, top, base = 84, WIDTH - 40, d.height + 40, d.height + 330
    floor = 0.01
    most = max(values[-1] for _, _, values in probes)
    scale, _ = log_scale(floor, max(most, 10), left, right)
    # Nines: each step up is ten times fewer samples left over.
    levels = (0.5, 0.9, 0.99, 0.999, 0.9999)

    def height(share):
        return base - (base - top) * (-math.log10(1 - share)) / 4.2

    for share in levels:
        d.line(left, height(share), right, height(share), "l-rule thin")
        d.text(left - 8, height(share) + 4, f"{share * 100:g} %", "soft small", "end")
    for exponent in range(-2, math.ceil(math.log10(max(most, 10))) + 1):
        for m in (1, 2, 5):
            at = m * 10.0 ** exponent
            if floor <= at <= max(most, 10):
                d.text(scale(at), base + 18, f"{at:g}", "soft small", "middle")
                d.line(scale(at), base, scale(at), base + 4, "l-rule thin")
    d.line(left, base, right, base, "l-rule")
    for at, words in limits:
        d.line(scale(at), top - 6, scale(at), base, "l-soft thin", "4 4")
        d.text(scale(at) + 5, top, words, "soft small")
    x = 28
    for label, who, values in probes:
        d.line(x, d.height + 8, x + 22, d.height + 8, f"curve l-{who}")
        d.text(x + 28, d.height + 12, label, "strong small")
        x += 52 + 6.6 * len(label)
        points, n = [], len(values)
        for k in range(0, 421):
            share = 1 - 10 ** (-k / 100)
            if share * n > n - 1:
                break
            points.append((scale(max(values[int(share * n)], floor)), height(share)))
        d.curve(points, f"l-{who}")
    d.text((left + right) / 2, base + 40, "ms (logarithmic); share of samples that were this fast or faster",
           "soft small", "middle")
    d.height = base + 56
    d.write(path)

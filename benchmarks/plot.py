"""Bars, without a library for them."""

from collections.abc import Mapping, Sequence

_ROW, _LEFT, _WIDE = 34, 150, 460


def bars(title: str, rows: Mapping[str, Sequence[float]], form: str = ",.0f") -> str:
    """Draw medians as bars, and from minimum to maximum a line across their ends."""
    most = max(high for _, _, high in rows.values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDE + 110}"'
        f' height="{_ROW * len(rows) + 40}" font-family="sans-serif" font-size="13">',
        f'<text x="8" y="18">{title}</text>',
    ]
    for row, (name, found) in enumerate(rows.items()):
        low, middle, high = (value / most * _WIDE for value in found)
        top = 30 + row * _ROW
        parts += [
            f'<text x="8" y="{top + 16}">{name}</text>',
            f'<rect x="{_LEFT}" y="{top}" width="{middle:.0f}" height="22" fill="#4a7fb5"/>',
            f'<line x1="{_LEFT + low:.0f}" x2="{_LEFT + high:.0f}" y1="{top + 11}"'
            f' y2="{top + 11}" stroke="#1d3a57" stroke-width="2"/>',
            f'<text x="{_LEFT + high + 6:.0f}" y="{top + 16}">{found[1]:{form}}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])

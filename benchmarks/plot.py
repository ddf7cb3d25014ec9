"""Bars, without a library for them."""

from collections.abc import Mapping
from typing import Any

_ROW, _LEFT, _WIDE = 34, 90, 520


def bars(operations: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw requests per CPU-second: the median as a bar, the range as a line across its end."""
    most = max(found["per_cpu_second"][2] for found in operations.values())
    height = _ROW * len(operations) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDE + 110}"'
        f' height="{height}" font-family="sans-serif" font-size="13">',
        '<text x="8" y="18">Requests per CPU-second of one server process</text>',
    ]
    for row, (name, found) in enumerate(operations.items()):
        low, middle, high = (value / most * _WIDE for value in found["per_cpu_second"])
        top = 30 + row * _ROW
        parts += [
            f'<text x="8" y="{top + 16}">{name}</text>',
            f'<rect x="{_LEFT}" y="{top}" width="{middle:.0f}" height="22" fill="#4a7fb5"/>',
            f'<line x1="{_LEFT + low:.0f}" x2="{_LEFT + high:.0f}" y1="{top + 11}"'
            f' y2="{top + 11}" stroke="#1d3a57" stroke-width="2"/>',
            f'<text x="{_LEFT + high + 6:.0f}" y="{top + 16}">'
            f"{found['per_cpu_second'][1]:,.0f}</text>",
        ]
    return "\n".join([*parts, "</svg>", ""])

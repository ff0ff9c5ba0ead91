"""Numbers as a person reads them: shares, counts, durations."""

import math


def percent(share: float, digits: int = 1) -> str:
    """Return a share as text: `99.4 %`."""
    return f"{share * 100:.{digits}f}\N{NO-BREAK SPACE}%"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Return `1 image` or `2,000 images`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def plural_are(count: int, noun: str) -> str:
    """Return `1 image is` or `2,000 images are`."""
    return f"{plural(count, noun)} {'is' if count == 1 else 'are'}"


def duration(seconds: float) -> str:
    """Return `17 s`, `4 min 5 s` or `2 h 3 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def number_text(value: float) -> str:
    """Return a number with four digits that count."""
    return f"{value:.4g}" if math.isfinite(value) else "not finite"

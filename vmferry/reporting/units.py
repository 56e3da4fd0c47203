"""Numbers as people read them: the only place that rounds."""

from __future__ import annotations

_MIB = 1024 * 1024


def format_bytes(count: int) -> str:
    """Bytes → `0`, `<1 MiB`, `12 MiB`, `3.4 GiB`, `1.2 TiB`."""
    if count == 0:
        return "0"
    mib = count / _MIB
    if mib < 1:
        return "<1 MiB"
    if mib < 1024:
        return f"{mib:.0f} MiB" if mib >= 9.95 else f"{mib:.1f} MiB"
    return f"{mib / 1024:.1f} GiB" if mib < 1024 * 1024 else f"{mib / 1024 / 1024:.1f} TiB"


def format_kib(count: int) -> str:
    """KiB, libvirt's unit of memory, → MiB or GiB."""
    return format_bytes(count * 1024)


def format_seconds(seconds: float) -> str:
    """Seconds → `0.4 s`, `12.3 s`, `3 min 20 s`, `2 h 5 min`; a negative span (clock set back) is 0."""
    seconds = max(0.0, seconds)
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_ms(ms: int | None) -> str:
    """Milliseconds → `120 ms`, `4.2 s`; `-` when nobody measured them."""
    if ms is None:
        return "-"
    return f"{ms} ms" if ms < 2000 else format_seconds(ms / 1000)


def format_clock(seconds: float) -> str:
    """Seconds → `0:42`, `12:05`, `3:07:00`."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def format_share(done: int, total: int) -> str:
    """Bytes → `300 of 1024 MiB`, both in the unit of the larger one."""
    if total < 10 * 1024 * _MIB:
        return f"{max(0, done) / _MIB:.0f} of {total / _MIB:.0f} MiB"
    return f"{max(0, done) / 1024 / _MIB:.1f} of {total / 1024 / _MIB:.1f} GiB"

"""SMPTE time code and frame counts. Rates that are no whole number count at the next whole one, as film does.

Drop-frame code (`;` before the frames, 29.97 and 59.94 fps) leaves out numbers, never frames.
"""

import re

_FORM = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.,])(\d\d)")


def frames_of(timecode: str, fps: float) -> int | None:
    """Frames since 00:00:00:00; None where it is no time code of this rate.

    >>> frames_of("00:00:41:17", 23.976), frames_of("00:01:00;02", 29.97), frames_of("00:00:00:30", 24)
    (1001, 1800, None)
    """
    found, rate = _FORM.fullmatch(timecode.strip()), round(fps)
    if not found or rate < 1:
        return None
    hours, minutes, seconds, frames = (int(found[k]) for k in (1, 2, 3, 5))
    if minutes > 59 or seconds > 59 or frames >= rate:
        return None
    minutes += 60 * hours
    dropped = _dropped(rate) * (minutes - minutes // 10) if found[4] in ";," else 0
    return (60 * minutes + seconds) * rate + frames - dropped


def timecode_of(frames: int, fps: float, drop: bool = False) -> str:
    """Inverse of `frames_of`; after 24 hours it starts again.

    >>> timecode_of(1001, 23.976), timecode_of(1800, 29.97, drop=True), timecode_of(17982, 29.97, drop=True)
    ('00:00:41:17', '00:01:00;02', '00:10:00;00')
    """
    rate, lost = round(fps), _dropped(round(fps)) if drop else 0
    frames %= 144 * (600 * rate - 9 * lost)
    tens, left = divmod(frames, 600 * rate - 9 * lost)
    later = max(left - lost, 0) // (60 * rate - lost) if lost else 0  # minutes of the ten that dropped any
    frames += lost * (9 * tens + later)
    hours, minutes, seconds = frames // (3600 * rate), frames // (60 * rate) % 60, frames // rate % 60
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{';' if lost else ':'}{frames % rate:02d}"


def later(timecode: str, frames: int, fps: float) -> str:
    """The code so many frames on; empty where it is none.

    >>> later("10:00:00:23", 2, 24.0), later("", 2, 24.0)
    ('10:00:01:01', '')
    """
    start = frames_of(timecode, fps)
    return "" if start is None else timecode_of(start + frames, fps, timecode.strip()[-3] in ";,")


def _dropped(rate: int) -> int:
    """Numbers left out in every minute but the tenth."""
    return 2 * (rate // 30)

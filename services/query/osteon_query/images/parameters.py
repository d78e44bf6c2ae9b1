"""Query parameters of pictures: numbers, Orthanc's, and those of PS3.18 8.3.5."""

import math
from typing import Final

from starlette.datastructures import QueryParams

from osteon_query.http.errors import BadParameter

MAX_SIDE: Final = 8_192
"""Of a side of a requested image."""
_FUNCTIONS: Final = ("linear", "linear-exact", "sigmoid")
_PROFILES: Final = ("no", "yes", "srgb", "adobergb", "rommrgb", "displayp3")
_VIEWPORT: Final = 6


def quality(query: QueryParams) -> int:
    """Return `quality` (8.3.5.1.2), 90 without it."""
    return whole("quality", query["quality"], 1, 100) if "quality" in query else 90


def side(query: QueryParams, name: str) -> int | None:
    """Return `width` or `height` of Orthanc's /rendered; 0 is none."""
    return whole(name, query.get(name, "0"), 0, MAX_SIDE) or None


def orthanc_window(query: QueryParams) -> dict[str, object]:
    """Return `window-center` and `window-width` of Orthanc's /rendered, as fields of a `RenderRequest`."""
    centre, width = (
        decimal(name, query[name]) if name in query else None for name in ("window-center", "window-width")
    )
    if centre is None or width is None:
        return {"window_centre": centre, "window_width": width}
    return {"window": (centre, width, "linear")}


def window(query: QueryParams) -> tuple[float, float, str] | None:
    """Return `window=centre,width,function` (8.3.5.1.4)."""
    if "window" not in query:
        return None
    parts = [part.strip().lower() for part in query["window"].split(",")]
    if len(parts) not in (2, 3) or [*parts, "linear"][2] not in _FUNCTIONS:
        raise BadParameter(f"window: expected centre,width,function with one of {', '.join(_FUNCTIONS)}")
    centre, width, function = [*parts, "linear"][:3]
    size = decimal("window", width)
    if size <= 0 or (size < 1 and function == "linear"):
        raise BadParameter(f"window: a width of {size:g} shows nothing")
    return decimal("window", centre), size, function


Viewport = tuple[int, int, float | None, float | None, float | None, float | None]


def viewport(query: QueryParams, *, region: bool) -> Viewport | None:
    """Return `viewport=vw,vh,sx,sy,sw,sh` (8.3.5.1.3), of which all but the first two may be left out.

    `region`: a thumbnail shows the whole image, and has the first two only.
    """
    if "viewport" not in query:
        return None
    parts = [part.strip() for part in query["viewport"].split(",")]
    if not 2 <= len(parts) <= (_VIEWPORT if region else 2):
        raise BadParameter(f"viewport: expected {'vw,vh,sx,sy,sw,sh or vw,vh' if region else 'vw,vh'}")
    vw, vh = (whole("viewport", part, 1, MAX_SIDE) for part in parts[:2])
    sx, sy, sw, sh = [decimal("viewport", part) if part else None for part in parts[2:]] + [None] * (6 - len(parts))
    if sw == 0 or sh == 0 or (sx or 0) < 0 or (sy or 0) < 0:
        raise BadParameter("viewport: the region begins in the image, and has a width and a height")
    return vw, vh, sx, sy, sw, sh


def unsupported_warning(query: QueryParams) -> str:
    """Return the warning about a valid parameter that has no effect (8.3.5.1.5); empty when all have one."""
    profile = query.get("iccprofile", "no")
    if profile not in _PROFILES:
        raise BadParameter(f"iccprofile: expected one of {', '.join(_PROFILES)}")
    return "" if profile == "no" else "iccprofile is not supported: the image has no color profile"


def flag(query: QueryParams, name: str, *, default: bool) -> bool:
    """Return a parameter that is 0, 1, true or false, or has no value, which means true."""
    text = query.get(name, str(default)).lower()
    if text not in ("", "0", "1", "true", "false"):
        raise BadParameter(f"{name}: expected 0 or 1, got {text[:40]!r}")
    return text in ("", "1", "true")


def whole(name: str, text: str, minimum: int, maximum: int) -> int:
    """Return a parameter that is a whole number within limits; raises `BadParameter`."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10) or not minimum <= int(text) <= maximum:
        raise BadParameter(f"{name}: expected a whole number from {minimum} to {maximum}, got {text[:40]!r}")
    return int(text)


def decimal(name: str, text: str) -> float:
    """Return a parameter that is a decimal number; raises `BadParameter`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadParameter(f"{name}: expected a number, got {text[:40]!r}")
    return value

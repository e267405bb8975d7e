"""How Pillow unpacks the samples of an image that is open and not loaded."""

from __future__ import annotations

from PIL import Image


def raw_mode(image: Image.Image) -> str:
    """Return the name of the unpacker, such as ``"RGB;16B"``; empty where a format has none."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0][3]
    first = arguments if isinstance(arguments, str) else (arguments or ("",))[0]
    return first if isinstance(first, str) else ""


def set_raw_mode(image: Image.Image, name: str) -> None:
    """Have the samples unpacked in another way."""
    tiles = image.tile  # type: ignore[attr-defined]
    for number, tile in enumerate(tiles):
        arguments = tile[3]
        changed = name if isinstance(arguments, str) else (name, *arguments[1:])
        tiles[number] = tile._replace(args=changed)

"""Names and first bytes of image formats: which are read here, which only look like images."""

from __future__ import annotations

DECODED = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
"""Pillow's names of the formats that are read; each further parser is one more way in."""

_DECODED_EXTENSIONS = frozenset(b"jpg jpeg jpe jfif png gif webp bmp tif tiff".split())
# Of these only a small preview could be read as TIFF: not the picture that was taken.
_RAW_EXTENSIONS = frozenset(b"raw cr2 cr3 nef arw dng".split())
_OTHER_EXTENSIONS = frozenset(
    b"heic heif avif svg eps pdf psd jp2 jxl ico ppm pgm tga".split() + list(_RAW_EXTENSIONS)
)

_DECODED_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
}
_OTHER_MAGIC = {
    b"%PDF": "PDF",
    b"%!PS": "EPS",
    b"\xc5\xd0\xd3\xc6": "EPS",
    b"8BPS": "PSD",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x01\x00": "ICO",
    b"P5\n": "PGM",
    b"P6\n": "PPM",
    b"<svg": "SVG",
}
_HEIF_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "HEIC"
)
SNIFFED = 32
"""How many first bytes `is_image` wants."""


def extension(path: bytes) -> bytes:
    """Return the lower-case extension without its dot; empty where there is none."""
    name = path.rpartition(b"/")[2]
    return name.rpartition(b".")[2].lower() if b"." in name[1:] else b""


def has_image_extension(path: bytes) -> bool:
    """Tell whether a name promises an image, of a format that is read here or not."""
    found = extension(path)
    return found in _DECODED_EXTENSIONS or found in _OTHER_EXTENSIONS


def is_image(head: bytes) -> bool:
    """Tell whether the first bytes of a file without an extension are those of an image."""
    return _decoded(head) is not None or _other(head) not in (None, "PDF", "EPS")


def raw_reason(path: bytes) -> str | None:
    """Say why a camera's raw file is not read; None for all other names."""
    found = extension(path)
    return _not_read(found.decode().upper()) if found in _RAW_EXTENSIONS else None


def unidentified_reason(data: bytes) -> str:
    """Say what bytes are that no decoder recognised."""
    if not data:
        return "the file is empty"
    if found := _decoded(data):
        return f"damaged: starts like {found}, but its header cannot be read"
    if found := _other(data):
        return _not_read(found)
    if data[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page, not an image"
    return "not a JPEG, PNG, GIF, WebP, BMP or TIFF image"


def _not_read(name: str) -> str:
    return f"{name} is not read here: convert it to JPEG or PNG"


def _decoded(head: bytes) -> str | None:
    """Name the format that is read here, if it is one."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return next((name for magic, name in _DECODED_MAGIC.items() if head.startswith(magic)), None)


def _other(head: bytes) -> str | None:
    """Name the format that is not read here, if it is a known one."""
    if head[4:8] == b"ftyp":
        return _HEIF_BRANDS.get(head[8:12])
    if head.startswith(b"<?xml") and b"<svg" in head[:1024]:
        return "SVG"
    return next((name for magic, name in _OTHER_MAGIC.items() if head.startswith(magic)), None)

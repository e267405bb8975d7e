"""Names and first bytes of image formats: which are read here, which only look like images."""

from __future__ import annotations

DECODED = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
"""Pillow's names of the formats that are read; each further parser is one more way in."""
LATE = ("AVIF", "HEIF")
"""Those whose parsers are loaded when the first such file comes."""

_DECODED_EXTENSIONS = frozenset(
    b"jpg jpeg jpe jfif jif pjpeg mpo png apng gif webp bmp dib tif tiff avif heic heif hif".split()
)
# Of these only a small preview could be read as TIFF: not the picture that was taken.
_RAW_EXTENSIONS = frozenset(b"raw cr2 cr3 nef arw dng".split())
_OTHER_EXTENSIONS = frozenset(
    b"svg eps pdf psd jp2 jxl ico ppm pgm tga".split() + list(_RAW_EXTENSIONS)
)
# What lies beside photos and is none: not opened to see what it is.
_NO_IMAGE_EXTENSIONS = frozenset(
    b"txt csv tsv json jsonl xml yaml yml toml ini cfg html htm md rst tex py ipynb js css sh bat "
    b"mp4 mov m4v avi mkv webm mpg mpeg 3gp mp3 m4a wav flac ogg zip gz tgz tar bz2 xz 7z rar doc "
    b"docx odt xls xlsx ods ppt pptx db sqlite h5 hdf5 npz npy pkl mat pt pth onnx tflite parquet "
    b"log lock exe dll so aae xmp thm ds_store".split()
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
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
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


def may_be_image(path: bytes) -> bool:
    """Tell whether a name without a promise may be that of an image: ``a.jpg.1``, ``b.jpg?w=9``."""
    return extension(path) not in _NO_IMAGE_EXTENSIONS


def is_image(head: bytes) -> bool:
    """Tell whether the first bytes of a file are those of an image, whatever its name."""
    return format_of(head) is not None or _other(head) not in (None, "PDF", "EPS", "ICO")


def missing(name: str) -> str | None:
    """
    Load the parser of a format of `LATE`, or say why there is none.

    pillow-heif is not installed with this program: the library in it, libheif, had ways to run
    code through a file until 1.23.3 (CVE-2026-84383 and others), so that those who have no HEIC
    need not have it.
    """
    if name == "AVIF":
        from PIL import AvifImagePlugin

        return None if AvifImagePlugin.SUPPORTED else _not_read("AVIF")
    try:
        import pillow_heif
    except ImportError:
        return 'HEIC needs pillow-heif: pip install "bottleneck-pipeline[heic]", or convert to JPEG'
    # The picture itself, not its thumbnail; threads are ours.
    pillow_heif.register_heif_opener(
        thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
    )
    return None


def raw_reason(path: bytes) -> str | None:
    """Say why a camera's raw file is not read; None for all other names."""
    found = extension(path)
    return _not_read(found.decode().upper()) if found in _RAW_EXTENSIONS else None


def unidentified_reason(data: bytes) -> str:
    """Say what bytes are that no decoder recognised."""
    if not data:
        return "the file is empty"
    if data.startswith(b"MM\x00+"):
        return _not_read("BigTIFF in big-endian order")
    if found := format_of(data):
        name = {"WEBP": "WebP", "HEIF": "HEIC"}.get(found, found)
        return f"damaged: starts like {name}, but its header cannot be read"
    if found := _other(data):
        return _not_read(found)
    if data[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page, not an image"
    return "not a JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF or HEIC image"


def _not_read(name: str) -> str:
    return f"{name} is not read here: convert it to JPEG or PNG"


def format_of(head: bytes) -> str | None:
    """Return Pillow's name of the format that bytes start like, if it is one that is read here."""
    if head[4:8] == b"ftyp":
        brands = head[8 : min(int.from_bytes(head[:4]), SNIFFED)]
        named = {brands[i : i + 4] for i in range(0, len(brands), 4)}
        return "AVIF" if named & _AVIF_BRANDS else "HEIF" if named & _HEIC_BRANDS else None
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and head[6:10] != bytes(4):  # two letters may start a text
        return None
    return next((name for magic, name in _DECODED_MAGIC.items() if head.startswith(magic)), None)


def _other(head: bytes) -> str | None:
    """Name the format that is not read here, if it is a known one."""
    if head.startswith(b"<?xml") and b"<svg" in head[:1024]:
        return "SVG"
    return next((name for magic, name in _OTHER_MAGIC.items() if head.startswith(magic)), None)

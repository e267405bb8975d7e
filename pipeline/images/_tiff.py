"""TIFF files: which of them hold a picture that can be read, and what the others hold."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_WIDTH, _HEIGHT = 256, 257
_BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR = 258, 262, 277, 284
_EXTRA, _FORMAT, _SUBSAMPLING, _COMPRESSION = 338, 339, 530, 259
_JPEG = (6, 7)  # compressions that bring their own sampling of colour
_UNSIGNED, _PLANES = 1, 2
# TIFF 6.0, tag PhotometricInterpretation; beyond them the TIFF/EP, DNG and LogLuv documents.
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {
    _WHITE_IS_ZERO: "white is zero",
    _BLACK_IS_ZERO: "black is zero",
    _RGB: "RGB",
    _PALETTE: "a palette",
    4: "a mask",
    _CMYK: "CMYK",
    _YCBCR: "YCbCr",
    8: "CIELAB",
    9: "ICC Lab",
    10: "ITU Lab",
    32803: "a camera's raw data",
    32844: "LogL",
    32845: "LogLuv",
    34892: "a camera's raw data",
}
_NUMBERS = {2: "signed ", 3: "floating point ", 5: "complex ", 6: "complex "}
_UNSPECIFIED = 0
_MOST_BANDS = 65535  # SamplesPerPixel is a number of 16 bits


class Samples(NamedTuple):
    """What the first image of a TIFF file says of its samples."""

    photometric: int
    bits: tuple[int, ...]  # of each band
    formats: tuple[int, ...]
    extra: tuple[int, ...]  # meanings of the bands beyond the colours
    planes: bool  # one band after the other
    whole_colour: bool  # YCbCr whose colour is not sampled more coarsely, or JPEG

    @property
    def readable(self) -> bool:
        """Whether it is one of the kinds whose pixels were compared with those of tifffile."""
        if set(self.formats) != {_UNSIGNED} or len(set(self.bits)) != 1:
            return False
        bits, count = self.bits[0], len(self.bits)
        if self.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
            if count == 1:
                return bits in (1, 2, 4, 8, 12, 16)
            opacity = count == 2 and self.extra and self.extra[0] != _UNSPECIFIED
            return bool(opacity and bits == 8 and self.photometric == 1 and not self.planes)
        if self.photometric == _PALETTE:
            opacity = count == 2 and self.extra == (2,) and not self.planes
            return (count == 1 and bits in (1, 2, 4, 8)) or (opacity and bits == 8)
        if self.planes:
            return self.photometric == _RGB and count == 3 and bits == 8
        if self.photometric == _RGB:
            return (bits == 8 and count in (3, 4, 5, 6)) or (
                bits == 16 and (count == 3 or (count == 4 and self.extra[:1] != (1,)))
            )
        if self.photometric == _CMYK:
            return count == 4 and bits in (8, 16)
        return self.photometric == _YCBCR and count == 3 and bits == 8 and self.whole_colour

    @property
    def reason(self) -> str:
        """Say what it is, and what to do about it."""
        if self.photometric in (8, 9, 10) or len(self.bits) == 1:
            advice = "convert it to RGB or grey of 8 or 16 bits"
        else:
            advice = "export three bands as 8-bit RGB"
        return f"{self} is not read here: {advice}"

    def __str__(self) -> str:
        bands = "1 band" if len(self.bits) == 1 else f"{len(self.bits)} bands"
        kinds = {_NUMBERS.get(number, "") for number in self.formats}
        bits = ", ".join(map(str, sorted(set(self.bits))))
        kind = kinds.pop() if len(kinds) == 1 else "mixed "
        numbers = f"{bits}-bit {kind}numbers" if kind else f"{bits} bit{'s' * (bits != '1')}"
        colours = _COLOURS.get(self.photometric, f"photometric {self.photometric}")
        planes = ", in planes" if self.planes else ""
        opacity = ", multiplied with opacity" if self.extra[:1] == (1,) else ""
        return f"TIFF with {bands} of {numbers} ({colours}{planes}{opacity})"


def samples(data: bytes) -> Samples | None:
    """
    Read what a TIFF file says of the samples of its first image.

    Returns
    -------
    Samples or None
        None where its tags cannot be read.
    """
    try:
        tags = _tags(data)
        count = int(tags.get(_SAMPLES, 1))
        if count > _MOST_BANDS or not {_WIDTH, _HEIGHT} <= set(tags):
            return None
        # As Pillow has it, some files name fewer kinds than bands, and mean the same for all.
        bits = _for_each(tags.get(_BITS, (1,)), count)
        formats = _for_each(tags.get(_FORMAT, (_UNSIGNED,)), count)
        return Samples(
            photometric=int(tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO)),
            bits=bits,
            formats=formats,
            extra=tuple(int(value) for value in _several(tags.get(_EXTRA, ()))),
            planes=count > 1 and int(tags.get(_PLANAR, 1)) == _PLANES,
            whole_colour=int(tags.get(_COMPRESSION, 1)) != 1
            or tuple(tags.get(_SUBSAMPLING, (2, 2))) == (1, 1),
        )
    except Exception:  # Pillow's parsers raise whatever their slips lead to
        return None


def white_is_zero(image: Image.Image) -> bool:
    """Whether the least value of an open TIFF is white; Pillow leaves that to us in 16 bits."""
    return bool(image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)  # type: ignore[attr-defined]


def _tags(data: bytes) -> ImageFileDirectory_v2:
    file = io.BytesIO(data)
    header = file.read(8)
    if header[2:3] == b"+" or header[3:4] == b"+":  # BigTIFF has longer offsets
        header += file.read(8)
    directory = ImageFileDirectory_v2(header)
    file.seek(directory.next)
    directory.load(file)
    return directory


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _for_each(value: Any, count: int) -> tuple[int, ...]:
    """Return one number for each band; at least those that are named."""
    numbers = tuple(int(number) for number in _several(value))
    return numbers * count if len(numbers) == 1 else numbers

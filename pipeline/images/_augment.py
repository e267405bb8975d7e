"""Views: augmented copies of an image, decided by its content, a seed and their number alone."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from pipeline.common.choices import Augment, Resize, choose
from pipeline.common.errors import ChoiceError

from ._decode import (
    POLICY,
    DecodeOptions,
    Room,
    decode,
    one_at_a_time,
    opened,
    scaled,
    square,
)

MOST_VIEWS = 100  # all views of one image are in memory together: at 224 pixels these are 15 MB
_DEFAULT = (Augment.flip, Augment.crop)
_AFFINE = frozenset({Augment.rotate, Augment.shear, Augment.zoom, Augment.shift})

_SMALLEST_CROP = 0.75
_LONGEST_CROP = 4 / 3
_ROTATION = math.radians(50)
_SHEAR = 0.2
_ZOOM = 0.3
_SHIFT = 0.2
_COLOUR = 0.4
_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
_ORDERS = tuple(permutations(range(3)))


@dataclass(frozen=True, kw_only=True)
class Views:
    """
    Which copies of each image there are.

    View 0 is the image itself. The others differ from it by what `augment` names, in this order:

    - ``crop``: of the whole photo a random part, scaled to the square: sides 3:4 to 4:3 as in
      torchvision's ``RandomResizedCrop`` (from Inception), and 75 to 100 % of the largest such
      part, the ``min_scale`` that fastai's book fine-tunes with. torchvision's own 8 % are for
      training from scratch: heads on codes of such parts scored lower.
    - ``rotate``, ``shear``, ``zoom``, ``shift``: by at most 50 degrees, 0.2, 0.3 and 0.2, the
      settings of the cats-vs-dogs article for Keras's ``ImageDataGenerator``. They are one affine
      map as in Keras, bicubic, on the final square; what comes in from outside repeats the edge
      (Keras's ``nearest``). The angle of the shear is in radians, as in Keras until the end of
      2017: 0.2 degrees would move no pixel of 224 by more than 0.4.
    - ``flip``: left and right change places, in every second view on average.
    - ``colour``: brightness, contrast and saturation times 0.6 to 1.4, in random order, as
      torchvision's ``ColorJitter`` with 0.4, which fb.resnet.torch trained ImageNet with.

    Attributes
    ----------
    count : int, default 1
        With the image itself.
    augment : tuple of Augment
        Empty for one view.
    seed : int, default 0
    """

    count: int = 1
    augment: tuple[Augment, ...] = ()
    seed: int = 0

    @property
    def policy(self) -> dict[str, Any]:
        """What a space says of views."""
        if self.count == 1:
            return {"views": 1}
        names = ",".join(name.value for name in self.augment)
        return {"views": self.count, "augment": names, "augment_seed": self.seed}


ONE_VIEW = Views()


def parse_views(
    count: int, *, augment: str | Sequence[Augment | str] | None = None, seed: int = 0
) -> Views:
    """
    Understand which views are asked for.

    Parameters
    ----------
    count : int
        With the image itself.
    augment : str or sequence of Augment or str, optional
        Names, in any order; a string joins them by commas. By default flip and crop.
    seed : int, default 0
        Decides everything random.

    Returns
    -------
    Views

    Raises
    ------
    ChoiceError
        If a number is impossible, a name is unknown, or there is nothing to augment.
    """
    if not 1 <= count <= MOST_VIEWS:
        raise ChoiceError(f"expected 1 to {MOST_VIEWS} views, found {count}; try 4")
    if not 0 <= seed < 2**32:
        raise ChoiceError(f"expected a seed from 0 to {2**32 - 1}, found {seed}; try 0")
    if count == 1 and augment is not None:
        raise ChoiceError(
            "expected augment with 2 views or more, found 1: the first is the image itself; try 4"
        )
    if count == 1:
        return ONE_VIEW
    given = augment.split(",") if isinstance(augment, str) else augment
    names = _DEFAULT if given is None else {choose(Augment, name, what="augment") for name in given}
    if not names:
        raise ChoiceError("expected a name in augment, found none; try flip,crop")
    return Views(count=count, augment=tuple(name for name in Augment if name in names), seed=seed)


def decode_views(
    data: bytes,
    *,
    size: int,
    resize: Resize,
    views: Views,
    sha256: bytes,
    policy: Mapping[str, str] = POLICY,
    room: Room = one_at_a_time,
) -> NDArray[np.uint8]:
    """
    Decode the bytes of an image file to all its views.

    Parameters
    ----------
    data, size, resize, policy, room
        As for `decode`.
    views : Views
    sha256 : bytes of length 32
        Hash of `data`; with the seed and a view's number it decides how that view differs.

    Returns
    -------
    ndarray of uint8, shape (views.count, size, size, 3)
        The first is what `decode` returns.

    Raises
    ------
    Rejected, MemoryError
        As `decode` does.
    """
    with opened(data, size=size, policy=policy, room=room) as upright:
        first = square(upright, size, resize)
        others = (
            _view(upright, first, views.augment, _Dice(views.seed, sha256, number))
            for number in range(1, views.count)
        )
        return np.stack([np.asarray(image) for image in (first, *others)])


def decode_copies(
    data: bytes, *, views: Views, sha256: bytes, **options: Unpack[DecodeOptions]
) -> NDArray[np.uint8]:
    """
    Decode the bytes of an image file to one image, or to all of several views.

    Parameters
    ----------
    data, views, sha256
        As for `decode_views`.
    **options
        As for `decode`.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3), or (views.count, size, size, 3) of several

    Raises
    ------
    Rejected, MemoryError
        As `decode` does.
    """
    if views.count == 1:
        return decode(data, **options)
    return decode_views(data, views=views, sha256=sha256, **options)


class _Dice:
    """
    Random numbers of one view.

    They come from SHA-256 and not from a generator's stream: each augmentation has its own,
    whichever others are asked for, and no release of a library changes them.
    """

    def __init__(self, seed: int, sha256: bytes, view: int) -> None:
        self._prefix = sha256 + struct.pack(">QQ", seed, view)

    def __call__(self, name: Augment) -> Iterator[float]:
        """Return four numbers in [0, 1), each of 53 random bits."""
        digest = hashlib.sha256(self._prefix + name.value.encode()).digest()
        return ((word >> 11) / 2**53 for word in struct.unpack(">4Q", digest))


def _view(
    upright: Image.Image, first: Image.Image, augment: Sequence[Augment], dice: _Dice
) -> Image.Image:
    """Make one view of an upright image, of which `first` is the square."""
    image, size = first, first.width
    if Augment.crop in augment:
        box = crop_box(upright.size, *dice(Augment.crop))
        image = scaled(upright, (size, size), box=box)
    if not _AFFINE.isdisjoint(augment):
        image = warped(image, _matrix(augment, dice))
    if Augment.flip in augment and next(dice(Augment.flip)) < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if Augment.colour in augment:
        image = _coloured(image, *dice(Augment.colour))
    return image


def crop_box(
    shape: tuple[int, int], share: float, ratio: float, x: float, y: float
) -> tuple[float, float, float, float]:
    """
    Choose a part of an image by four numbers in [0, 1).

    Parameters
    ----------
    shape : tuple of int
        Width and height.
    share, ratio, x, y : float
        Decide the area, the ratio of the sides (uniform in its logarithm) and the place.

    Returns
    -------
    tuple of float
        Left, top, right, bottom; always within the image.
    """
    width, height = shape
    aspect = _LONGEST_CROP ** _between(-1, 1, ratio)
    largest = min(width, height * aspect)
    side = largest * math.sqrt(_between(_SMALLEST_CROP, 1, share))
    w, h = side, side / aspect
    # Rounding can make a side longer than the image by its last bit.
    left, top = max(0.0, width - w) * x, max(0.0, height - h) * y
    return left, top, min(left + w, width), min(top + h, height)


def _matrix(augment: Sequence[Augment], dice: _Dice) -> NDArray[np.float64]:
    """Draw the affine map of a view; what is not asked for stays as it is."""

    def drawn(name: Augment) -> list[float]:
        return [_between(-1, 1, x) if name in augment else 0.0 for x in dice(name)]

    x, y, *_ = drawn(Augment.shift)
    wide, high, *_ = drawn(Augment.zoom)
    return affine(
        angle=_ROTATION * drawn(Augment.rotate)[0],
        shift=(_SHIFT * x, _SHIFT * y),
        shear=_SHEAR * drawn(Augment.shear)[0],
        zoom=(1 + _ZOOM * wide, 1 + _ZOOM * high),
    )


def affine(
    *, angle: float, shift: tuple[float, float], shear: float, zoom: tuple[float, float]
) -> NDArray[np.float64]:
    """
    Compose rotation, shift, shear and zoom as Keras does (``apply_affine_transform``).

    Parameters
    ----------
    angle, shear : float
        In radians.
    shift, zoom : tuple of float
        Along x and y; the shift in edges of the square. A zoom above 1 shows more.

    Returns
    -------
    float64 array of shape (2, 3)
        From places in the result to places in the image, both relative to the centre.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    turned = np.array([[cos, -sin], [sin, cos]])
    sheared = np.array([[1, -math.sin(shear)], [0, math.cos(shear)]])
    return np.column_stack([turned @ sheared @ np.diag(zoom), turned @ shift])


def warped(image: Image.Image, matrix: NDArray[np.float64]) -> Image.Image:
    """
    Apply an affine map to a square image, around its centre.

    Parameters
    ----------
    image : Image
        RGB.
    matrix : float64 array of shape (2, 3)
        From `affine`.

    Returns
    -------
    Image
        Of the same size; beyond the edge of `image`, its outermost pixels are repeated.
    """
    size = image.width
    linear = matrix[:, :2]
    # Pillow counts from the corner.
    offset = size / 2 + size * matrix[:, 2] - linear @ (size / 2, size / 2)
    corners = linear @ [(0, 0, size, size), (0, size, 0, size)] + offset[:, None]
    before = np.maximum(0, np.ceil(-corners.min(axis=1))).astype(int) + 1
    after = np.maximum(0, np.ceil(corners.max(axis=1) - size)).astype(int) + 1
    beyond = ((before[1], after[1]), (before[0], after[0]), (0, 0))
    padded = Image.fromarray(np.pad(np.asarray(image), beyond, mode="edge"))
    (a, b), (d, e) = linear.tolist()
    c, f = (offset + before).tolist()
    return padded.transform(
        image.size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BICUBIC
    )


def _coloured(
    image: Image.Image, brightness: float, contrast: float, saturation: float, order: float
) -> Image.Image:
    """Change brightness, contrast and saturation, in one of their six orders."""
    factors = [_between(1 - _COLOUR, 1 + _COLOUR, x) for x in (brightness, contrast, saturation)]
    for place in _ORDERS[int(order * len(_ORDERS))]:
        image = _ENHANCERS[place](image).enhance(factors[place])
    return image


def _between(low: float, high: float, x: float) -> float:
    """Move a number from [0, 1) to [low, high)."""
    return low + (high - low) * x

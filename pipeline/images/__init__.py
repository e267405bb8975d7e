"""Images: find, label and split them; decode their bytes to upright, square, 8-bit RGB.

`find` recognises the layout of a source and returns a `Source`: one row for each image, with its
path, label and split. `stream` reads, hashes and decodes rows in a few threads, in order. `split`
deals rows to train, val and test by the hashes of their contents. Each layout is one private
module with a ``read``; `decode` is the only way from bytes to pixels, `decode_views` adds copies.
"""

from ._augment import ONE_VIEW, Views, decode_views, parse_views
from ._columns import parse_columns
from ._decode import POLICY, Rejected, decode, policy_of
from ._find import find, named
from ._held import held, listed
from ._joined import joined
from ._listed import files
from ._look import Look, look
from ._photo import is_photo, pixels_of
from ._probe import probe, probe_pixels
from ._source import Given, Limit, Read, Source, Unreadable, indexed, parse_limit
from ._split import has_unlabelled_test, idle_shares, split
from ._stream import Loaded, stream
from ._text import printable

__all__ = [
    "ONE_VIEW",
    "POLICY",
    "Given",
    "Limit",
    "Loaded",
    "Look",
    "Read",
    "Rejected",
    "Source",
    "Unreadable",
    "Views",
    "decode",
    "decode_views",
    "files",
    "find",
    "has_unlabelled_test",
    "held",
    "idle_shares",
    "indexed",
    "is_photo",
    "joined",
    "listed",
    "look",
    "named",
    "parse_columns",
    "parse_limit",
    "parse_views",
    "pixels_of",
    "policy_of",
    "printable",
    "probe",
    "probe_pixels",
    "split",
    "stream",
]

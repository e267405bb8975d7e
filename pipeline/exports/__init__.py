"""Files that other programs run: one model from pixels to the probabilities of the classes.

`joined` puts a head's steps behind a Keras model of codes; `TABLE` has one row for each format,
with what writes a file and what runs it. A format is one private module.
"""

from pipeline.exports._card import Facts, card_text, squared
from pipeline.exports._compare import Agreement, compare, latency
from pipeline.exports._content import ExportContent
from pipeline.exports._format import Format, Run, Tolerance
from pipeline.exports._joined import joined, merged, pooled
from pipeline.exports._table import TABLE
from pipeline.exports._write import write

__all__ = [
    "TABLE",
    "Agreement",
    "ExportContent",
    "Facts",
    "Format",
    "Run",
    "Tolerance",
    "card_text",
    "compare",
    "joined",
    "latency",
    "merged",
    "pooled",
    "squared",
    "write",
]

"""
Pretrained networks without their heads: a table of rows, and rows loaded as pixels-to-codes.

`TABLE` and `find` need no TensorFlow; `load` does.
"""

from pipeline.backbones._backbone import Backbone
from pipeline.backbones._layers import parse_layer
from pipeline.backbones._network import Network, load
from pipeline.backbones._openvino import installed as openvino_installed
from pipeline.backbones._overlap import Computes, compute
from pipeline.backbones._preprocessing import Preprocessing
from pipeline.backbones._sharing import sharing
from pipeline.backbones._table import TABLE, find
from pipeline.backbones._tail import INPUT, Tail, boundaries, load_tail, rebuild_tail
from pipeline.backbones._weights import Weights
from pipeline.backbones._whole import codes_model

__all__ = [
    "INPUT",
    "TABLE",
    "Backbone",
    "Computes",
    "Network",
    "Preprocessing",
    "Tail",
    "Weights",
    "boundaries",
    "codes_model",
    "compute",
    "find",
    "load",
    "load_tail",
    "openvino_installed",
    "parse_layer",
    "rebuild_tail",
    "sharing",
]

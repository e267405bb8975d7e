"""Heads: classifiers on codes behind one contract, saved and loaded as plain arrays."""

from pipeline.heads._card import Card
from pipeline.heads._codes import Codes, InMemory, Streamed
from pipeline.heads._config import PRESET_POOLS, PRESETS, Initializer, MlpConfig, Monitor, Output
from pipeline.heads._folded import Dense, Neighbours, Step, Unit
from pipeline.heads._head import Head
from pipeline.heads._kinds import build
from pipeline.heads._plan import Plan, Size, plan
from pipeline.heads._pool import pool
from pipeline.heads._saved import SavedHead, check_target, load, save

__all__ = [
    "PRESETS",
    "PRESET_POOLS",
    "Card",
    "Codes",
    "Dense",
    "Head",
    "InMemory",
    "Initializer",
    "MlpConfig",
    "Monitor",
    "Neighbours",
    "Output",
    "Plan",
    "SavedHead",
    "Size",
    "Step",
    "Streamed",
    "Unit",
    "build",
    "check_target",
    "load",
    "plan",
    "pool",
    "save",
]

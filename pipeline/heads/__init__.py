"""Heads: classifiers on codes behind one contract, saved and loaded as plain arrays."""

from pipeline.heads._calibration import HeldOut
from pipeline.heads._card import Card, Origin
from pipeline.heads._checkpoint import Epoch
from pipeline.heads._codes import CodeRows, InMemory, Streamed
from pipeline.heads._config import PRESET_POOLS, PRESETS, Initializer, MlpConfig, Output
from pipeline.heads._estimator import EstimatorHead
from pipeline.heads._folder import TRAINING, check_target, unfinished, writing
from pipeline.heads._head import Head
from pipeline.heads._kinds import build
from pipeline.heads._learning_rate import RateTrial
from pipeline.heads._novelty import Novelty, most_references
from pipeline.heads._parts import Part, units, vectors
from pipeline.heads._plan import Plan, Size, plan, plan_tuning
from pipeline.heads._pool import pool
from pipeline.heads._saved import SavedHead, described, load, save
from pipeline.heads._scaler import ParetoScaler
from pipeline.heads._training_config import Monitor
from pipeline.heads._tuning import tune, tuning_config
from pipeline.heads._tuning_data import (
    Budget,
    Material,
    Planned,
    Resumable,
    TooLittleTime,
    Tuned,
    Watch,
    through,
)

__all__ = [
    "PRESETS",
    "PRESET_POOLS",
    "TRAINING",
    "Budget",
    "Card",
    "CodeRows",
    "Epoch",
    "EstimatorHead",
    "Head",
    "HeldOut",
    "InMemory",
    "Initializer",
    "Material",
    "MlpConfig",
    "Monitor",
    "Novelty",
    "Origin",
    "Output",
    "ParetoScaler",
    "Part",
    "Plan",
    "Planned",
    "RateTrial",
    "Resumable",
    "SavedHead",
    "Size",
    "Streamed",
    "TooLittleTime",
    "Tuned",
    "Watch",
    "build",
    "check_target",
    "described",
    "load",
    "most_references",
    "plan",
    "plan_tuning",
    "pool",
    "save",
    "through",
    "tune",
    "tuning_config",
    "unfinished",
    "units",
    "vectors",
    "writing",
]

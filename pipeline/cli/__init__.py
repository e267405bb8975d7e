"""The command line: what was typed becomes a call of one stage, and its result is printed."""

from __future__ import annotations

from pipeline.cli import (
    audit,
    backbones,
    compare,
    demo,
    evaluate,
    export,
    extract,
    fine_tune,
    fit_head,
    group,
    info,
    learning_curve,
    pack,
    predict,
    relabel,
    repair,
    show,
    verify,
)
from pipeline.cli.program import app, command, main

__all__ = ["app", "main"]

# In the order in which help lists them.
for each in (
    show.show,
    extract.extract,
    fit_head.fit_head,
    fine_tune.fine_tune,
    evaluate.evaluate,
    predict.predict,
    export.export,
    audit.audit,
    group.group,
    info.info,
    verify.verify,
    relabel.relabel,
    repair.repair,
    pack.pack,
    backbones.backbones,
    demo.demo,
    compare.compare,
    learning_curve.learning_curve,
):
    command(each)

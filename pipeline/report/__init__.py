"""Report: labels and scores in; metrics, tables and plots out."""

from pipeline.report._plots import confusion_png, curves_png
from pipeline.report._score import ClassScore, Report, calibration_error, most_confused, score
from pipeline.report._table import confusion_csv, confusion_table_rows

__all__ = [
    "ClassScore",
    "Report",
    "calibration_error",
    "confusion_csv",
    "confusion_png",
    "confusion_table_rows",
    "curves_png",
    "most_confused",
    "score",
]

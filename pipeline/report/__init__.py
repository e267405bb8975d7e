"""Report: labels and scores in; metrics, tables and plots out."""

from pipeline.report._audit_page import AuditCard, AuditPage, AuditPhoto, AuditSection
from pipeline.report._certainty import accuracy_by_share, calibration_error
from pipeline.report._charts import curve_svgs, history_svg
from pipeline.report._curve import CurvePoint, CurveReading, read_curve
from pipeline.report._display import ConfusionMatrix, Display, Displayed, Table, Tabled
from pipeline.report._groups_page import GroupSheet, GroupsPage
from pipeline.report._learning import learning_curve_png, learning_curve_svg
from pipeline.report._matrix import confusion_png
from pipeline.report._page import Page, PagePhotos, Photo, order_of, shown_of
from pipeline.report._paired import PairedDifference, paired_difference
from pipeline.report._plots import curves_png
from pipeline.report._power_law import Desired, PowerLaw
from pipeline.report._rivals import Differing, HeadPair, HeadsPage, differing_first, head_pair
from pipeline.report._score import (
    ClassScore,
    Report,
    Tally,
    most_confused,
    score,
)
from pipeline.report._scored import ScoredRows
from pipeline.report._sheet import Tile, sheet_png
from pipeline.report._table import confusion_csv, confusion_csv_lines, confusion_table_rows

__all__ = [
    "AuditCard",
    "AuditPage",
    "AuditPhoto",
    "AuditSection",
    "ClassScore",
    "ConfusionMatrix",
    "CurvePoint",
    "CurveReading",
    "Desired",
    "Differing",
    "Display",
    "Displayed",
    "GroupSheet",
    "GroupsPage",
    "HeadPair",
    "HeadsPage",
    "Page",
    "PagePhotos",
    "PairedDifference",
    "Photo",
    "PowerLaw",
    "Report",
    "ScoredRows",
    "Table",
    "Tabled",
    "Tally",
    "Tile",
    "accuracy_by_share",
    "calibration_error",
    "confusion_csv",
    "confusion_csv_lines",
    "confusion_png",
    "confusion_table_rows",
    "curve_svgs",
    "curves_png",
    "differing_first",
    "head_pair",
    "history_svg",
    "learning_curve_png",
    "learning_curve_svg",
    "most_confused",
    "order_of",
    "paired_difference",
    "read_curve",
    "score",
    "sheet_png",
    "shown_of",
]

"""The confusion matrix as text."""

from __future__ import annotations

import csv
import io

import pytest

from pipeline.report import confusion_csv, confusion_table_rows, score


def test_rows_are_true_classes():
    report = score([0, 0, 1], [0, 1, 1], classes=("cat", "dog"))
    assert confusion_csv(report) == "true class,cat,dog\r\ncat,1,1\r\ndog,0,1\r\n"
    assert confusion_table_rows(report) == [["", "cat", "dog"], ["cat", "1", "1"], ["dog", "", "1"]]


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@x", "\tx", "\rx"])
def test_names_that_a_spreadsheet_would_run(name):
    rows = list(
        csv.reader(
            io.StringIO(confusion_csv(score([0, 1], [0, 1], classes=(name, "b"))), newline="")
        )
    )
    assert rows[0] == ["true class", "'" + name, "b"]
    assert rows[1][0] == "'" + name


@pytest.mark.parametrize("name", ["a,b", 'say "a"', "two\nlines", "caf\udce9", "<b>"])
def test_names_that_need_care_come_back(name):
    text = confusion_csv(score([0, 1], [0, 1], classes=(name, "b")))
    again = text.encode(errors="surrogateescape").decode(errors="surrogateescape")
    assert list(csv.reader(io.StringIO(again, newline="")))[1] == [name, "1", "0"]

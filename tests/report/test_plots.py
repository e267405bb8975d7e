"""Plots are PNG files that Pillow can read, with something on them, and always the same."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipeline.report import confusion_png, curves_png, score

HISTORY = {
    "accuracy": [0.3, 0.6, 0.7],
    "loss": [2.0, 1.2, 0.9],
    "val_accuracy": [0.5, 0.6, 0.65],
    "val_loss": [1.5, 1.1, 1.0],
}


def picture(png):
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB")).astype(int)


def report_of(k, name="class {}"):
    rng = np.random.default_rng(k)
    true = rng.integers(0, k, 40 * k)
    pred = np.where(rng.random(40 * k) < 0.8, true, rng.integers(0, k, 40 * k))
    return score(true, pred, classes=[name.format(i) for i in range(k)])


@pytest.mark.parametrize("k", [2, 10, 26, 100])
def test_confusion_from_two_to_a_hundred_classes(k):
    pixels = picture(confusion_png(report_of(k)))
    height, width, _ = pixels.shape
    assert 400 < height < 3500
    assert 400 < width < 3500
    # Nothing is cut off: the rim is white.
    for rim in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]):
        assert (rim == 255).all()
    dark_blue = (pixels[..., 2] > 80) & (pixels[..., 0] < 60)
    assert dark_blue.mean() > 0.005  # the diagonal


def test_the_diagonal_runs_down_from_the_left():
    pixels = picture(confusion_png(score([0] * 9 + [1] * 9, [0] * 18, classes=("a", "b"))))
    dark = (pixels[..., 2] > 80) & (pixels[..., 0] < 60)
    middle = pixels.shape[1] // 2
    # Both true classes are predicted as the first: only the left column is dark.
    assert dark[:, :middle].sum() > 5 * dark[:, middle : int(middle * 1.5)].sum()


@pytest.mark.parametrize(
    "name",
    [
        "caf\udce9 {}",
        "$x_{{{}}}^2$ and $",
        "\N{CJK UNIFIED IDEOGRAPH-540D}{}",
        "\x00{}\n",
        "x" * 300 + "{}",
        "<b>{}</b>",
        "\N{ARABIC LETTER ALEF}{}",
        "",
    ],
)
def test_names_that_are_hard_to_draw(name):
    picture(confusion_png(report_of(3, name)))


def test_curves():
    pixels = picture(curves_png(HISTORY))
    only_train = picture(curves_png({"accuracy": [0.3, 0.6], "loss": [2.0, 1.2]}))
    red = lambda image: ((image[..., 0] > 220) & (image[..., 1] < 140)).sum()  # noqa: E731
    assert red(pixels) > 100
    assert red(only_train) == 0


@pytest.mark.parametrize("epochs", [1, 2, 100])
def test_curves_of_any_length(epochs):
    picture(curves_png({name: values[:1] * epochs for name, values in HISTORY.items()}))


def test_the_same_numbers_give_the_same_bytes_whatever_the_users_style():
    import matplotlib

    report = report_of(4)
    plots = confusion_png(report), curves_png(HISTORY)
    with matplotlib.rc_context({"axes.facecolor": "red", "text.usetex": True, "font.size": 30}):
        assert (confusion_png(report), curves_png(HISTORY)) == plots


def test_pyplot_is_never_loaded():
    code = (
        "import sys; from pipeline.report import *;"
        "confusion_png(score([0, 1], [0, 0], classes=('a', 'b')));"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("k", [101, 3000])
def test_of_many_classes_the_errors_are_drawn_in_a_picture_of_bounded_size(k):
    pixels = picture(confusion_png(report_of(k), title="x" * 500))
    height, width, _ = pixels.shape
    assert height * width < 2_000_000
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 150)
    assert red.mean() > 0.02


def test_without_errors_there_is_nothing_to_draw_and_it_says_so():
    labels = np.arange(200)
    picture(confusion_png(score(labels, labels, classes=[str(i) for i in range(200)])))


def test_a_long_title_does_not_widen_a_picture():
    report = score([0, 1], [0, 1], classes=("a", "b"))
    sizes = [picture(confusion_png(report, title="x" * count)).shape for count in (100, 1000)]
    assert sizes[0] == sizes[1]


def drawn_as(*names):
    return confusion_png(score([0, 1, 1], [0, 1, 0], classes=names))


def test_names_that_no_font_can_write_are_escapes():
    """A box would be the same for all letters; no font has those of this alphabet."""
    letter = "\N{KHITAN SMALL SCRIPT CHARACTER-18B00}"
    assert drawn_as(letter, "b") == drawn_as(r"\U00018b00", "b")


def test_bytes_that_are_no_text_and_control_characters_are_escapes():
    assert drawn_as("caf\udce9", "a\n") == drawn_as(r"caf\xe9", r"a\n")


def test_names_that_are_the_same_when_cut_become_numbers():
    cut, numbers = (picture(drawn_as(*each)) for each in (("x" * 60, "x" * 61), ("1", "2")))
    assert cut.shape[0] > numbers.shape[0], "a line says so"


def test_letters_that_matplotlibs_font_lacks_come_from_another(tmp_path, monkeypatch):
    """A font of one letter, as if the user had installed it."""
    from fontTools.fontBuilder import FontBuilder  # matplotlib's own need
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib.font_manager import fontManager

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "one"])
    font.setupCharacterMap({0x18B01: "one"})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "one": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (500, 0), "one": (800, 0)})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "One Letter Sans", "styleName": "Regular"})
    font.setupOS2(sTypoAscender=800, sTypoDescender=-200)
    font.setupPost()
    font.save(tmp_path / "one.ttf")
    monkeypatch.setattr(fontManager, "ttflist", list(fontManager.ttflist))
    fontManager.addfont(tmp_path / "one.ttf")
    in_letters, escaped = (
        orange(picture(drawn_as(name * 2, "b"))).any(axis=0).sum()
        for name in ("\U00018b01", r"\U00018b01")
    )
    assert in_letters > escaped, "short names leave more room for the cells"


def test_letters_have_six_points_or_more(monkeypatch):
    from matplotlib.axes import Axes

    sizes, write = [], Axes.text
    monkeypatch.setattr(
        Axes, "text", lambda *args, **how: sizes.append(how["fontsize"]) or write(*args, **how)
    )
    confusion_png(report_of(45))
    assert len(sizes) > 45
    assert min(sizes) >= 6


def test_cells_have_room_for_the_largest_count():
    true = np.repeat(np.arange(30), 100_000)
    names = [str(number) for number in range(30)]
    few, many = (
        picture(confusion_png(score(each, each, classes=names))).shape
        for each in (true[::10_000], true)
    )
    assert many[1] > few[1]


def orange(pixels):
    return (pixels[..., 0] > 200) & (pixels[..., 1] < 230) & (pixels[..., 2] < 210)


def test_a_single_wrong_image_of_many_is_seen():
    true = np.repeat([0, 1], 1000)
    one = true.copy()
    one[0] = 1
    bar, cell = (
        orange(picture(confusion_png(score(true, answers, classes=("a", "b"))))).sum()
        for answers in (true, one)
    )
    assert cell > bar + 2000


def test_a_class_without_images_looks_otherwise_than_one_that_is_never_the_answer():
    absent, never = (
        picture(confusion_png(score(true, pred, classes=("a", "b", "c"))))
        for true, pred in (([0, 0, 1], [0, 0, 1]), ([0, 1, 2], [0, 1, 0]))
    )
    hatches = [(abs(each - 0x99).max(axis=2) < 8).sum() for each in (absent, never)]
    assert hatches[0] > 10 * max(1, hatches[1])


def test_notes_are_written_above_the_matrix():
    report = score([0, 1], [0, 1], classes=("a", "b"))
    plain, noted = (
        picture(confusion_png(report, notes=notes)) for notes in ((), ("warning: no test " * 9,))
    )
    assert noted.shape[0] > plain.shape[0]
    assert noted.shape[1] < 2 * plain.shape[1]

"""
The command line as a user meets it: its last line, its exit code.

Most commands run in this process, through the same `main`. A process of its own is for what only
that can show: the first command of a job, signals, pipes, limits, what is imported, how it ends.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app, main
from pipeline.common.choices import HeadKind

Run = Callable[..., subprocess.CompletedProcess[str]]

_HEAVY = {"tensorflow", "keras", "sklearn", "matplotlib", "joblib", "h5py", "PIL"}


@pytest.fixture
def process(tmp_path: Path) -> Run:
    """Run `python -m pipeline` in an empty directory."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipeline", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200", **environment},
        )

    return run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Do the same in this process: no second Python has to import TensorFlow or scikit-learn."""
    monkeypatch.chdir(tmp_path)
    # It gives away descriptor 2, which is pytest's here.
    monkeypatch.setattr("pipeline.cli.program._silence_libraries", lambda: None)

    def run(
        *arguments: object, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
        with monkeypatch.context() as patch, _signals_and_warnings_kept():
            for name, value in {"COLUMNS": "200", **environment}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["pipeline", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as ended:
                main()
            said = []
            for stream in (out, err):
                stream.flush()
                said.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(arguments, ended.value.code, *said)

    return run


@contextlib.contextmanager
def _signals_and_warnings_kept() -> Iterator[None]:
    """Take back what `main` changes for good in a process that is its own."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    handlers = {number: signal.getsignal(number) for number in numbers}
    logger = logging.getLogger("PIL")
    level = logger.level
    try:
        with warnings.catch_warnings():
            yield
    finally:
        logger.setLevel(level)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _commands() -> list[str]:
    return [str(command.name) for command in app.registered_commands]


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from pipeline.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not (_HEAVY | {"rich"}) & set(done.stdout.split())


_REFUSED = (
    "extract nowhere",
    "extract photos --backbone vgg61",
    "fit-head nowhere --kind mlp",
    "evaluate nowhere nowhere",
    "predict nowhere x.jpg",
    "export nowhere --format onnx",
    "info nowhere",
    "verify nowhere",
    "pack nowhere x.h5",
    "backbones",
)


def test_refusals_need_no_tensorflow(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    make_photos(each=2)
    program = (
        "import sys; from pipeline.cli import main\n"
        "for line in sys.argv[1:]:\n"
        "    sys.argv = ['pipeline', *line.split()]\n"
        "    try: main()\n"
        "    except SystemExit as end: code = end.code\n"
        "    heavy = {name.partition('.')[0] for name in sys.modules} & {'tensorflow', 'keras'}\n"
        "    print('*', code, heavy, line)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *_REFUSED], capture_output=True, text=True, cwd=tmp_path
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("*")] == [
        f"* {int(line != 'backbones')} set() {line}" for line in _REFUSED
    ]


@pytest.mark.parametrize("command", _commands())
def test_every_command_has_help_and_is_in_the_readme(command: str, run: Run) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert len(done.stdout) > 200
    readme = Path(__file__).parents[1] / "README.md"
    assert f"pipeline {command}" in readme.read_text() or f"`{command}`" in readme.read_text()


def test_version(run: Run) -> None:
    changelog = (Path(__file__).parents[1] / "CHANGELOG.md").read_text()
    assert f"## {run('--version').stdout.strip()} " in changelog


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["extract", "nowhere"], "nowhere"),
        (["extract", "empty"], "empty"),
        (["extract", "photos", "--backbone", "vgg61"], "vgg16"),
        (["extract", "photos", "--layer", "block5c_ad"], "block5c_add"),
        (["extract", "photos", "--weights", "none.h5"], "none.h5"),
        (["extract", "photos", "--val", "0.9", "--test", "0.5"], "--val 0.2"),
        (["extract", "photos", "--limit", "few"], "few"),
        (["extract", "photos", "--out", "photos"], "--out"),
        (["fit-head", "nowhere", "--kind", "svm"], "pipeline extract"),
        (["fit-head", "nowhere", "--kind", "svm", "--hidden", "5"], "--kind mlp"),
        (["evaluate", "nowhere", "nowhere"], "fit-head"),
        (["evaluate", "a", "b", "store", "--views"], "expected one head with --with or --views"),
        (["predict", "nowhere", "photos"], "fit-head"),
        (["fit-head", "photos", "--kind", "svm"], "pipeline extract photos"),
        (["fit-head", "nowhere", "--kind", "mlp", "--C", "1"], "try l2"),
        (["export", "nowhere", "--format", "onnx"], "fit-head"),
        (["export", "nowhere", "--format", "onnx", "--out", "photos"], "--out photos.onnx"),
        (["export", "nowhere", "--format", "openvino", "--out", "photos"], "delete it"),
        (["export", "nowhere", "--format", "keras", "--quantize", "int8"], "--format tflite"),
        (["info", "nowhere"], "nowhere"),
        (["verify", "photos"], "store.json"),
        (["repair", "photos"], "store.json"),
        (["repair", "nowhere"], "nowhere"),
        (["verify", "photos/class_0/000.png"], "HDF5"),
        (["backbones", "resnet5"], "resnet50"),
        (["demo", "empty"], "empty"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line_and_code_1(
    arguments: list[str], said: str, run: Run, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    make_photos(each=2)
    (tmp_path / "empty").mkdir()
    done = run(*arguments)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "photos"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["extract"], "source"),
        (["extract", "x", "--resize", "stretch"], "stretch"),
        (["extract", "x", "--batch-size", "0"], "--batch-size"),
        (["fit-head", "x"], "--kind"),
        (["fit-head", "x", "--kind", "svn"], "found 'svn'; did you mean svm"),
        (["fit-head", "x", "--kind", "svm", "--C", "big"], "'big' is neither 'auto' nor a number"),
        (["fit-head", "x", "--kind", "mlp", "--hidden", "wide"], "such as 512,128 or 0.5,0.3"),
        (["fit-heads", "x"], "fit-heads"),
        (["extract", "x", "--views", "0"], "--views"),
        (["extract", "x", "--augment", "flip"], "one view is the photo itself; add --views 4"),
        (["extract", "x", "--views", "2", "--augment", "flip,blur"], "blur"),
        (["relabel", "x", "--rename", "cat"], "expected OLD=NEW"),
        (["relabel", "x", "--rename", "cat="], "expected OLD=NEW"),
    ],
)
def test_a_command_that_is_not_understood_is_code_2(
    arguments: list[str], said: str, run: Run
) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_an_error_in_a_process_of_its_own(process: Run) -> None:
    done = process("info", "nowhere")
    assert done.returncode == 1
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert done.stderr.startswith("error: ")


def test_ctrl_c_is_code_130_and_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.stages.info.info", stop)
    done = run("info", "nowhere")
    assert done.returncode == 130
    assert done.stderr == "error: interrupted; run the same command again\n"


def test_the_traceback_of_an_error_is_shown_on_demand(process: Run) -> None:
    assert "Traceback" in process("info", "nowhere", PIPELINE_DEBUG="1").stderr


def test_the_main_job(
    run: Run, process: Run, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_photos(each=20)
    (photos / "class_0" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")

    done = process("extract", "photos", "--size", "64")
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == "ok 60  rejected 1  pending 0  of 61"
    assert "rejected.csv" in done.stderr

    done = run("extract", "photos", "--size", "64", "--max-rejected", "5%", "--json")
    assert done.returncode == 0
    plain = json.loads(done.stdout)
    assert (plain["ok"], plain["rejected"], plain["computed"], plain["reused"]) == (60, 1, 0, 60)
    assert "found 61 images" in done.stderr

    done = run("fit-head", "artifacts/features/photos", "--kind", "svm", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["val_accuracy"] > 0.8

    done = run("evaluate", "artifacts/heads/photos-svm", "artifacts/features/photos")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("accuracy ")
    assert last.endswith("report in artifacts/reports/photos-svm/report.html")
    assert "true \\ predicted" in done.stdout
    assert (tmp_path / "artifacts" / "reports" / "photos-svm" / "confusion.png").exists()

    done = process("predict", "artifacts/heads/photos-svm", "photos/class_1/000.png", "--top", 1)
    assert done.returncode == 0, done.stderr
    assert "class_1" in done.stdout
    [line] = done.stderr.splitlines()
    assert line.startswith("next: pipeline predict ")

    done = run("predict", "artifacts/heads/photos-svm", "photos/class_0/broken.jpg")
    assert done.returncode == 3
    assert "broken.jpg" in done.stderr

    done = run("export", "artifacts/heads/photos-svm", "--format", "joblib", "--json")
    assert json.loads(done.stdout)["top1_agreement"] == 1

    assert run("verify", "artifacts/features/photos").stdout.startswith("sound: ")
    assert run("info", "artifacts/features/photos").returncode == 0
    assert run("info", "artifacts/heads/photos-svm").returncode == 0
    shard = next((tmp_path / "artifacts/features/photos/shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-9])
    done = run("verify", "artifacts/features/photos")
    assert done.returncode == 5
    assert shard.name in done.stderr
    assert (
        run("evaluate", "artifacts/heads/photos-svm", "artifacts/features/photos").returncode == 5
    )


def test_a_file_for_another_program(run: Run, tiny: str, make_photos: Callable[..., Path]) -> None:
    make_photos(each=20)
    assert run("extract", "photos", "--backbone", tiny, "--weights", "random").returncode == 0
    assert run("fit-head", "artifacts/features/photos", "--kind", "svm").returncode == 0
    done = run("export", "artifacts/heads/photos-svm", "--format", "tflite")
    assert done.returncode == 0, done.stderr
    assert "32 photos of the head's store: largest difference" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("artifacts/exports/photos-svm.tflite.md")
    [line] = done.stderr.splitlines()
    assert line.startswith("next: pipeline evaluate ")


def test_several_views(run: Run, make_photos: Callable[..., Path]) -> None:
    make_photos(each=20)
    done = run("extract", "photos", "--size", "64", "--views", 2, "--augment", "crop, flip")
    assert done.returncode == 0, done.stderr
    assert "avg 1280-D, 2 views -> " in done.stdout
    assert "augment: flip,crop" in run("info", "artifacts/features/photos").stdout
    run("fit-head", "artifacts/features/photos", "--kind", "softmax", "--C", 1, "--out", "head")
    done = run("evaluate", "head", "artifacts/features/photos", "--views")
    assert done.returncode == 0, done.stderr
    assert "on test, scores averaged over 2 views (" in done.stdout.splitlines()[-1]
    assert "artifacts/reports/head-views" in done.stdout
    plain = json.loads(run("evaluate", "head", "artifacts/features/photos", "--json").stdout)
    assert plain["views"] == 1
    alone, averaged = (
        json.loads(run("predict", "head", "photos/class_1/000.png", "--json", *options).stdout)
        for options in ([], ["--views"])
    )
    assert alone["predictions"][0]["score"] != averaged["predictions"][0]["score"]


def test_a_head_from_another_space(run: Run, tiny: str, make_photos: Callable[..., Path]) -> None:
    make_photos(each=8)
    for size in ("32", "48"):
        ask = ("--backbone", tiny, "--weights", "random", "--size", size, "--out", size)
        assert run("extract", "photos", *ask).returncode == 0
    assert run("fit-head", "32", "--kind", "svm", "--C", "1", "--out", "head").returncode == 0
    done = run("evaluate", "head", "48")
    assert done.returncode == 1
    assert "size: 32 against 48" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_disk_with_a_limit_is_code_4_and_the_run_goes_on_afterwards(
    run: Run, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("resource", reason="this system has no limits on file sizes")
    make_photos(each=8)
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))\n"
        "from pipeline.cli import main; main()"
    )
    # What measures the tests could not write its own file under this limit.
    unmeasured = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", program, "extract", "photos", "--size", "64", "--out", "s"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=unmeasured,
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("\n") == 1
    assert "run the same command again" in done.stderr
    done = run("extract", "photos", "--size", "64", "--out", "s")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ok 24  rejected 0  pending 0  of 24"


def test_a_place_that_cannot_be_written(
    run: Run, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    make_photos(each=2)
    done = run("extract", "photos", "--out", "/proc/store")
    assert done.returncode == 1
    assert done.stderr.startswith("error: expected a folder for the store, cannot use /proc/store")


def test_whoever_reads_the_answers_may_stop_reading(
    run: Run, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    make_photos(each=20)
    run("extract", "photos", "--size", "64", "--out", "s")
    run("fit-head", "s", "--kind", "svm", "--C", "1", "--out", "h")
    command = f"{sys.executable} -m pipeline predict h photos --csv table.csv | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.count("\n") == 1
    assert (tmp_path / "table.csv").read_text().count("\n") == 61


def test_several_heads_and_pictures(
    run: Run,
    tiny: str,
    make_photos: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    make_photos(each=20)
    run("extract", "photos", "--backbone", tiny, "--weights", "random", "--out", "s")
    for kind in ("svm", "centroid"):
        run("fit-head", "s", "--kind", kind, "--out", kind)
    done = run("evaluate", "svm", "centroid", "s", "--out", "r")
    assert done.returncode == 0, done.stderr
    assert "centroid against svm: " in done.stdout
    assert done.stdout.splitlines()[-1].endswith("photos in r/heads.html")
    plain = json.loads(run("evaluate", "svm", "centroid", "s", "--json").stdout)
    assert [len(plain[name]) for name in ("heads", "reports", "pairs")] == [2, 2, 1]
    done = run("evaluate", "svm", "centroid", "s", "--views")
    assert done.returncode == 1
    assert "expected one head with --with or --views" in done.stderr

    done = run("show", "photos", "--out", "a.png")
    assert done.stdout.splitlines()[-1] == "18 of 60 photos in a.png"
    assert json.loads(run("show", "s", "--json").stdout)["shown"] == 18
    done = run("predict", "svm", "photos/class_1", "--csv", "a.csv", "--sheet", "b.png")
    assert "photos in b.png" in done.stdout
    done = run("show", "a.csv", "--out", "c.png")
    assert done.stdout.splitlines()[-1] == "20 of 20 photos in c.png"
    run("show", "photos", "--out", "a.png", "--open")
    run("evaluate", "svm", "s", "--out", "r", "--open")
    assert opened == [(tmp_path / name).as_uri() for name in ("a.png", "r/report.html")]
    done = run("evaluate", "svm", "s", "--no-page")
    assert done.stdout.splitlines()[-1].endswith("report in artifacts/reports/svm")


def test_a_confusion_matrix_fits_a_terminal_of_80_columns(
    run: Run, make_photos: Callable[..., Path]
) -> None:
    make_photos(each=12)
    run("extract", "photos", "--size", "64", "--out", "s", "--test", "0.5")
    run("fit-head", "s", "--kind", "svm", "--C", "1", "--out", "h")
    done = run("evaluate", "h", "s", COLUMNS="40")
    assert " 1 class_0" in done.stdout
    done = run("evaluate", "h", "s", COLUMNS="80")
    assert "class_0  class_1  class_2" in done.stdout


def test_closed_streams_are_no_reason_to_fail(
    run: Run, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    make_photos(each=4)
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        command = f"{sys.executable} -m pipeline extract photos --size 64 --out s {closed}"
        assert subprocess.run(command, shell=True, cwd=tmp_path).returncode == 0


def test_a_message_does_not_colour_the_terminal(run: Run) -> None:
    done = run("info", "red\n\x1b[31mx")
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no such signals")
@pytest.mark.parametrize("name", ["SIGHUP", "SIGQUIT"])
def test_whatever_ends_a_run_what_was_computed_is_kept(
    name: str, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_photos(each=40)
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Reading from a pipe keeps the run waiting in the middle of the photos.
    command = [sys.executable, "-c", _SLOW, "extract", str(photos), "--out", "s", "--size", "64"]
    with subprocess.Popen(command, **options) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("slow"):
                break
        process.send_signal(getattr(signal, name))
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.count("\n") == 1
    assert int(err.split()[2]) >= 40, "interrupted: N of 120 images have their codes"


_SLOW = """
import signal, time
from pipeline import images, cli
# Whoever started the tests may have had them ignored, as nohup does.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
real, count = images.stream, iter(range(1000))
def stream(*arguments, **options):
    for loaded in real(*arguments, **options):
        if next(count) == 60:
            time.sleep(1)  # what came before is computed
            print("slow", flush=True)
            time.sleep(60)
        yield loaded
images.stream = stream
cli.main()
"""


def test_repair_on_the_command_line(
    run: Run, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    make_photos(each=8)
    run("extract", "photos", "--size", "64", "--out", "s")
    assert run("repair", "s").stdout == "nothing to repair: 24 rows of codes are sound\n"
    (tmp_path / "s" / "store.json").unlink()
    [shard] = (tmp_path / "s" / "shards").iterdir()
    done = run("info", "s")
    assert done.returncode == 5
    assert "`pipeline repair s` makes it again" in done.stderr
    done = run("repair", "s")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "made again: store.json, probe.h5",
        "mended: 24 rows of codes are sound",
    ]
    shard.write_bytes(shard.read_bytes()[:-1])
    assert run("verify", "s").returncode == 5
    assert run("extract", "photos", "--size", "64", "--out", "s").returncode == 5
    done = run("repair", "s")
    assert done.stdout.splitlines()[-2] == (
        "0 rows of codes are sound; to compute 24 images, type:"
    )
    program, *words = shlex.split(done.stdout.splitlines()[-1])
    assert program == "pipeline"
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ok 24  rejected 0  pending 0  of 24"


def test_too_little_address_space_is_code_4(
    make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource", reason="this system has no such limits")
    make_photos(each=2)
    for engine in ("openvino", "tensorflow"):
        command = [sys.executable, "-m", "pipeline", "extract", "photos", "--out", "s"]
        done = subprocess.run(
            [*command, "--engine", engine],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20)),
        )
        assert done.returncode == 4, done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


def test_damage_ends_a_process_by_its_code_not_by_a_signal(
    run: Run, process: Run, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    """HDF5 can crash while the interpreter ends, long after the message was printed."""
    make_photos(each=8)
    run("extract", "photos", "--size", "64", "--out", "s")
    run("pack", "s", "p.h5")
    numbers = random.Random(0)
    for name, store in (("s/table.h5", "s"), ("p.h5", "p.h5")):
        path = tmp_path / name
        whole = path.read_bytes()
        for command in (("verify", store), ("info", store)):
            data = bytearray(whole)
            data[numbers.randrange(4096)] ^= 1  # HDF5's own metadata
            path.write_bytes(bytes(data))
            done = process(*command)
            assert done.returncode == 5, (name, command, done.stderr)
            first, *others = done.stderr.splitlines()
            assert first.startswith("error: ")
            assert all(line.startswith("next: ") for line in others)
        path.write_bytes(whole)


def test_a_store_grows_is_relabelled_and_its_head_answers_for_a_list(
    run: Run, tiny: str, make_photos: Callable[..., Path]
) -> None:
    make_photos(each=12)
    make_photos("more", each=4, seed=1)
    ask = ("--out", "s", "--backbone", tiny, "--weights", "random")
    assert run("extract", "photos", *ask).returncode == 0
    added = run("extract", "more", "--add", *ask)
    assert added.stdout.splitlines()[-1] == "ok 48  rejected 0  pending 0  of 48"
    done = run("relabel", "s", "--rename", "class_1=class_0")
    assert done.stdout.splitlines() == [
        "classes: class_0 32  class_2 16",
        done.stdout.splitlines()[1],
        "relabelled 16 of 48 images",
    ]
    assert run("relabel", "s", "--rename", "class_1").returncode == 2
    fitted = run("fit-head", "s", "--kind", "svm", "--out", "h")
    assert "by C:" not in fitted.stdout
    assert "best on validation images" in fitted.stdout
    assert "by C:" in run("fit-head", "s", "--kind", "svm", "--out", "h", "--verbose").stdout
    asked = "photos/class_2/000.png\r\n\nmore/class_0/001\n"
    listed = run("predict", "h", "-", "--json", stdin=asked)
    found = json.loads(listed.stdout)
    assert [each["label"] for each in found["predictions"]] == ["class_2", "class_0"]
    assert listed.returncode == 0
    assert run("predict", "h", "").returncode == 1


def test_the_demo_says_what_was_done_what_to_look_at_and_what_to_type(
    make_photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photos(each=12)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.stages.demo._LAYERS", ("block2b_add:avg",))
    monkeypatch.setattr("pipeline.stages.demo._KINDS", (HeadKind.svm, HeadKind.centroid))
    done = CliRunner().invoke(app, ["demo", "photos"])
    assert done.exit_code == 0, done.output
    said = done.stdout.splitlines()
    for start in ("1. efficientnet-lite0 has looked at 36 images", "2. now heads", "3. "):
        assert any(line.startswith(start) for line in said)
    for path in re.findall(r"artifacts/reports/\S+?\.\w+", done.stdout):
        assert (tmp_path / path).is_file()
    assert said[-1].startswith("accuracy ")
    [command] = [line for line in said if "pipeline predict" in line]
    words = command.split(":")[0].replace("PHOTO", "photos/class_0/000.png").split()
    assert CliRunner().invoke(app, words[words.index("predict") :]).exit_code == 0


def test_a_comparison_and_a_demo_without_labelled_test_images(
    make_photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test folder has photos and no classes, as those of competitions do."""
    photos = make_photos("all", each=12)
    (tmp_path / "photos" / "test").mkdir(parents=True)
    photos.rename(tmp_path / "photos" / "train")
    image = next((tmp_path / "photos" / "train").rglob("*.png")).read_bytes()
    (tmp_path / "photos" / "test" / "1.png").write_bytes(image + b" ")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.stages.demo._LAYERS", ("block2b_add:avg",))
    monkeypatch.setattr("pipeline.stages.demo._KINDS", (HeadKind.svm, HeadKind.centroid))
    note = "note: no labelled test images: the winner is not tested; its score on validation is a"
    done = CliRunner().invoke(app, ["demo", "photos"])
    assert done.exit_code == 0, done.output
    assert note in done.stdout
    assert "best on validation images: it is right on" in done.stdout
    assert "artifacts/reports" not in done.stdout

    kinds = ["--kind", "svm", "--kind", "centroid", "--out", "h"]
    ask = ["compare", "artifacts/features/demo-photos", *kinds]
    done = CliRunner().invoke(app, ask)
    assert done.exit_code == 0, done.output
    assert note in done.stdout
    assert re.match(r"validation accuracy \d\.\d{4}, not tested", done.stdout.splitlines()[-1])
    found = json.loads(CliRunner().invoke(app, [*ask, "--json"]).stdout)
    assert found["evaluation"] is None
    assert found["warnings"][0].startswith(note)
    assert all(each["val_loss"] > 0 for each in found["candidates"])


def test_a_seed_that_is_none_is_refused_as_typed(run: Run) -> None:
    for command in (["audit", "s"], ["compare", "s"], ["fine-tune", "h"]):
        done = run(*command, "--seed", "-1")
        assert done.returncode == 2
        assert "Invalid value for '--seed'" in done.stderr

"""Fine-tuning from the cache against the usual loop in Keras (`make bench-tuning`)."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

BATCH = 16
PAGE = Path(__file__).parent.parent / "docs" / "performance-tuning.md"
TEXT = """# Fine-tuning from the cache

{photos}: {train} photos to train on, {val} to validate. The usual loop in Keras has the layers
below the block frozen, reads and decodes every photo in every epoch, and pays the whole network;
`pipeline fine-tune` reads what the frozen layers gave from the store. Both start from the same
weights (the head fitted on the training images alone), with the same optimizer, learning rate and
number of epochs, without augmentation, batch statistics at rest. An epoch is training and
validation, {batch} images in a step; the times are medians. Accuracies are those of the epoch with
the smallest validation loss. Made by `make bench-tuning` on {processors} processors (load {load} at
the end).

| | loop s | cache s | ratio | val. before | loop | cache | test before | cache | caching s |
|---|---|---|---|---|---|---|---|---|---|
{rows}

*bfloat16* is what `--precision auto` takes for blocks of dense convolutions on processors with
instructions for it; the loop computes in float32, Keras's default.
"""


class Case(NamedTuple):
    """A backbone, the boundary, and how both sides train."""

    name: str
    backbone: str
    weights: str
    start: str
    stop: str
    epochs: int
    options: dict[str, Any]


def main() -> None:
    """Measure every case, or one as the loop of a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--vgg16", help="a Keras file of weights of VGG16")
    parser.add_argument("--loop", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.loop is not None:
        print(json.dumps(loop(**json.loads(arguments.loop))))
        return
    cases = [Case("efficientnet-lite0, stages 6 and 7", "efficientnet-lite0", "imagenet",
                  "block5c_add", "avg", 6, {})]  # fmt: skip
    if arguments.vgg16 is not None:
        sgd = {"optimizer": "sgd", "momentum": 0.9}
        cases.append(
            Case(
                "vgg16, block 5", "vgg16", arguments.vgg16, "block4_pool", "block5_pool:avg", 5, sgd
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for case in cases for row in measure(case, arguments.photos, Path(folder))]
    text = TEXT.format(
        photos=arguments.photos.name,
        batch=BATCH,
        train=rows[0]["train"],
        val=rows[0]["val"],
        processors=os.cpu_count(),
        load=f"{os.getloadavg()[0]:.1f}",
        rows="\n".join(map(line, rows)),
    )
    PAGE.write_text(text, encoding="utf-8")
    print(text)


def line(row: dict[str, Any]) -> str:
    """Write a row of the table."""
    cells = (
        row["name"], f"{row['loop_seconds']:.1f}", f"{row['seconds']:.1f}",
        f"{row['loop_seconds'] / row['seconds']:.1f}", f"{row['before']:.4f}",
        f"{row['loop_accuracy']:.4f}", f"{row['accuracy']:.4f}", f"{row['test_before']:.4f}",
        f"{row['test']:.4f}", f"{row['caching']:.0f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def measure(case: Case, photos: Path, folder: Path) -> list[dict[str, Any]]:
    """Time the two sides of a case; ours also in float32 where it takes bfloat16 by itself."""
    import pipeline

    own = folder / case.backbone
    took = time.monotonic()
    pipeline.extract(
        photos,
        out=own / "store",
        backbone=case.backbone,
        weights=case.weights,
        layers=[case.stop, case.start],
        dtype="float16",
    )
    took = time.monotonic() - took
    fit = pipeline.fit_head(own / "store", kind="softmax", layer=case.stop, out=own / "head")
    sides = [cached(case, own, fit.head, "auto")]
    if sides[0]["precision"] == "bfloat16":
        sides.append(cached(case, own, fit.head, "float32"))
    request = {
        "store": str(own / "store"), "head": str(own / "start"), "backbone": case.backbone,
        "weights": case.weights, "start": case.start, "stop": case.stop, "epochs": case.epochs,
        "learning_rate": sides[0]["learning_rate"], "momentum": case.options.get("momentum", 0.0),
        "adam": not case.options,
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "benchmarks.tuning",
        str(photos),
        "--loop",
        json.dumps(request),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    usual = json.loads(done.stdout.splitlines()[-1])
    before = pipeline.evaluate(own / "start", own / "store", out=own / "r0").report.accuracy
    return [
        {
            **side, "name": f"{case.name} ({side['precision']})", "caching": took,
            "loop_seconds": usual["seconds"], "loop_accuracy": usual["accuracy"],
            "test_before": before,
        }
        for side in sides
    ]  # fmt: skip


def cached(case: Case, own: Path, head: str, precision: str) -> dict[str, Any]:
    """Fine-tune from the cache; keep the head as it was before the first epoch, too."""
    import pipeline

    result = pipeline.fine_tune(
        head,
        start=case.start,
        out=own / f"tuned-{precision}",
        epochs=case.epochs,
        early_stopping=0,
        schedule="constant",  # as in the loop
        precision=precision,
        batch_size=BATCH,
        **case.options,
    )
    still = own / "start"  # the head fitted on the training images alone
    if not still.exists():
        pipeline.fine_tune(
            head, start=case.start, out=still, epochs=1, learning_rate=1e-30, precision="float32"
        )
    report = pipeline.evaluate(result.head, own / "store", out=own / "r1").report
    return {
        "seconds": result.epoch_seconds, "accuracy": result.val_accuracy, "test": report.accuracy,
        "before": result.val_accuracy_before, "precision": result.precision,
        "learning_rate": result.learning_rate, "train": result.train_images,
        "val": result.val_images,
    }  # fmt: skip


def loop(
    *, store: str, head: str, backbone: str, weights: str, start: str, stop: str, epochs: int,
    learning_rate: float, momentum: float, adam: bool,
) -> dict[str, Any]:  # fmt: skip
    """Train as the articles do: all of the network, on photos, the lower layers frozen."""
    import keras
    import numpy as np

    from pipeline import backbones, heads, images
    from pipeline import store as stores
    from pipeline.backbones._preprocessing import preprocess
    from pipeline.common.choices import Resize, Split

    opened, saved = stores.open_store(Path(store)), heads.load(Path(head))
    row = backbones.find(backbone)
    tail = backbones.load_tail(row, start=start, stop=stop, size=row.size, weights=weights)
    network = tail._whole
    above = {layer.name for layer in tail.model.layers}
    for layer in network.layers:
        layer.trainable = layer.name in above and "BatchNorm" not in type(layer).__name__
    folder = opened.table.source["location"]

    class Photos(keras.utils.PyDataset):
        def __init__(self, split: Split, *, shuffle: bool) -> None:
            super().__init__(workers=2)
            self.rows, self.shuffle = stores.rows_of(opened, split), shuffle
            self.rng = np.random.default_rng(0)

        def __len__(self) -> int:
            return -(-len(self.rows) // BATCH)

        def __getitem__(self, number: int) -> Any:
            rows = self.rows[BATCH * number : BATCH * number + BATCH]
            files = [Path(folder) / path.decode() for path in opened.paths(rows)]
            pixels = np.stack(
                [
                    images.decode(file.read_bytes(), size=row.size, resize=Resize.crop)
                    for file in files
                ]
            )
            return preprocess(pixels, row.preprocessing), opened.labels[rows]

        def on_epoch_end(self) -> None:
            if self.shuffle:
                self.rng.shuffle(self.rows)

    x = network.outputs[0]
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Rescaling(1 / saved.head.scale_)(x)
    dense = keras.layers.Dense(len(saved.card.classes))
    model = keras.Model(network.inputs[0], dense(x))
    dense.set_weights([saved.head.coef_.T, saved.head.bias_])
    optimizer = (
        keras.optimizers.Adam(learning_rate) if adam
        else keras.optimizers.SGD(learning_rate, momentum=momentum)
    )  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    ends = [time.monotonic()]
    history = model.fit(
        Photos(Split.train, shuffle=True),
        validation_data=Photos(Split.val, shuffle=False),
        epochs=epochs,
        verbose=0,
        callbacks=[
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: ends.append(time.monotonic())
            )
        ],
    ).history
    best = int(np.argmin(history["val_loss"]))
    seconds = median([after - before for before, after in pairwise(ends)])
    return {"seconds": seconds, "accuracy": history["val_accuracy"][best]}


if __name__ == "__main__":
    main()

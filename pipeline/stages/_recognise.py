"""A head's backbone, loaded again: what predict and export compute with."""

from __future__ import annotations

import numpy as np

from pipeline import backbones, heads, images
from pipeline.choices import Engine, Precision, Resize
from pipeline.errors import HeadError, SpaceMismatch
from pipeline.space import Space, check_probe


def recognise(
    saved: heads.SavedHead,
    weights: str | None,
    *,
    exactly: bool = False,
    batch_size: int | None = None,
) -> backbones.Network:
    """
    Load the head's backbone and see that it is still the same.

    Parameters
    ----------
    saved : SavedHead
    weights : str or None
        The backbone's weights, if they are no longer where they were.
    exactly : bool, default False
        Whether TensorFlow must compute in float32, whatever computed the head's codes.
    batch_size : int, optional
        Images in one forward pass; by default as many as when the head's codes were computed.

    Returns
    -------
    Network

    Raises
    ------
    HeadError
        If nobody knows the head's backbone.
    SpaceMismatch
        If it is another one.
    """
    card, space = saved.card, space_of(saved)
    resize = Resize(space.resize)
    pixels = images.probe_pixels(size=space.size, resize=resize)
    # The same engine gives the same scores as the store; another one differs in last digits.
    engine = Engine(card.engine)
    same = engine is Engine.tensorflow or backbones.openvino_installed()
    same = same and not exactly
    network = backbones.load(
        backbones.find(space.backbone),
        weights=weights or card.weights["source"],
        layers=card.layers,
        size=space.size,
        batch_size=batch_size or (card.batch_size if same else None),
        engine=engine if same else Engine.tensorflow,
        precision=Precision(card.precision) if same else Precision.float32,
        probe=pixels,
    )
    found = network.space({"resize": resize.value, **images.policy_of(space.to_json())})
    for layer in card.layers:
        if differences := space.of_layer(layer).differences(found.of_layer(layer)):
            raise SpaceMismatch(
                f"expected the backbone that head {saved.directory} was fitted on, found another "
                f"({'; '.join(differences)}); name the right weights with --weights"
            )
    _check_probe(card, network)
    return network


def _check_probe(card: heads.Card, network: backbones.Network) -> None:
    """Compare the codes of the probe images, those of several layers one by one."""
    if card.probe is None:
        return
    exact = network.precision == Precision.float32.value
    kept, now = [card.probe], [card.take(network.probed)]
    if card.also:
        bounds = np.cumsum([part.width for part in card.inputs])[:-1]
        kept, now = np.split(kept[0], bounds, axis=1), np.split(now[0], bounds, axis=1)
    for layer, one, other in zip(card.layers, kept, now, strict=True):
        check_probe(one, other, layer=layer, exact=exact)


def space_of(saved: heads.SavedHead) -> Space:
    """
    Return the space of the codes that a head was fitted on.

    Raises
    ------
    HeadError
        If nobody knows it.
    """
    if saved.card.space is None:
        raise HeadError(
            f"expected a head that knows its backbone, found {saved.directory}, fitted on codes of "
            "another program; extract the photos with this program and fit again"
        )
    return saved.card.space

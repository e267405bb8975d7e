"""A head's backbone, loaded again: what predict and export compute with."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, heads, images
from pipeline.common.choices import Engine, Precision, Resize
from pipeline.common.errors import HeadError, SpaceMismatch
from pipeline.common.space import Space, check_probe

Codes = dict[str, NDArray[np.float32]]


class Networks:
    """
    The backbones of a head: one network, or several that see the same pixels.

    Attributes
    ----------
    batch_size : int
        How many images are in one batch.
    parallel : int
        How many batches are best computed at once.
    """

    def __init__(self, each: Sequence[tuple[backbones.Network, Sequence[heads.Part]]]) -> None:
        self._each = each
        self.batch_size = max(network.batch_size for network, _ in each)
        self.parallel = max(network.parallel for network, _ in each)
        self._pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="networks")

    def __call__(self, pixels: NDArray[np.uint8]) -> Codes:
        """
        Compute the codes of some images.

        Parameters
        ----------
        pixels : uint8 array of shape (b, size, size, 3)

        Returns
        -------
        dict of str to float32 array of shape (b, ...)
            For each layer of the head, by the name that it has there.
        """
        found: Codes = {}
        for network, parts in self._each:
            codes = network(pixels)
            found |= {part.layer: codes[part.own] for part in parts}
        return found

    def submit(self, pixels: NDArray[np.uint8]) -> Future[Codes]:
        """Begin to compute the codes of at most one batch."""
        return self._pool.submit(self, pixels)


def recognise(
    saved: heads.SavedHead,
    weights: str | None,
    *,
    exactly: bool = False,
    batch_size: int | None = None,
) -> backbones.Network | Networks:
    """
    Load the head's backbone and see that it is still the same.

    Parameters
    ----------
    saved : SavedHead
    weights : str or None
        The backbone's weights, if they are no longer where they were; of several backbones those
        of the first.
    exactly : bool, default False
        Whether TensorFlow must compute in float32, whatever computed the head's codes.
    batch_size : int, optional
        Images in one forward pass; by default as many as when the head's codes were computed.

    Returns
    -------
    Network or Networks
        What computes the codes of each layer of the head.

    Raises
    ------
    HeadError
        If nobody knows the head's backbone.
    SpaceMismatch
        If it is another one.
    """
    space_of(saved)
    probes = _probes(saved.card)
    found = []
    for number, origin in enumerate(saved.card.origins):
        parts = saved.card.of_source(number)
        network = _load(
            origin,
            [part.own for part in parts],
            weights=(None if number else weights) or origin.weights["source"],
            exactly=exactly,
            batch_size=batch_size,
        )
        _check_space(saved, origin.space, network)
        exact = network.precision == Precision.float32.value
        for part in parts:
            if part.layer in probes:
                now = _as_kept(saved.card, part, network.probed[part.own])
                check_probe(probes[part.layer], now, layer=part.layer, exact=exact)
        found.append((network, parts))
    return found[0][0] if len(found) == 1 else Networks(found)


def _load(
    origin: heads.Origin,
    layers: Sequence[str],
    *,
    weights: str,
    exactly: bool,
    batch_size: int | None,
) -> backbones.Network:
    """Load the backbone of a store, by the engine that computed its codes if that is here."""
    space, engine = origin.space, Engine(origin.engine)
    # The same engine gives the same scores as the store; another one differs in last digits.
    same = engine is Engine.tensorflow or backbones.openvino_installed()
    same = same and not exactly
    return backbones.load(
        backbones.find(space.backbone),
        weights=weights,
        layers=layers,
        size=space.size,
        batch_size=batch_size or (origin.batch_size if same else None),
        engine=engine if same else Engine.tensorflow,
        precision=Precision(origin.precision) if same else Precision.float32,
        probe=images.probe_pixels(size=space.size, resize=Resize(space.resize)),
    )


def _check_space(saved: heads.SavedHead, space: Space, network: backbones.Network) -> None:
    found = network.space({"resize": space.resize, **images.policy_of(space.to_json())})
    for layer in network.layers:
        if differences := space.of_layer(layer).differences(found.of_layer(layer)):
            raise SpaceMismatch(
                f"expected the backbone that head {saved.directory} was fitted on, found another "
                f"({'; '.join(differences)}); name the right weights with --weights"
            )


def _probes(card: heads.Card) -> Codes:
    """Return the kept codes of the probe images, those of several layers one by one."""
    if card.probe is None:
        return {}
    if not card.also:
        return {card.layer: card.probe}
    bounds = np.cumsum([part.width for part in card.inputs])[:-1]
    return dict(zip(card.layers, np.split(card.probe, bounds, axis=1), strict=True))


def _as_kept(card: heads.Card, part: heads.Part, codes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pool codes of the probe images where a card keeps them pooled."""
    return heads.vectors([part], {part.layer: codes}) if card.also else codes


def space_of(saved: heads.SavedHead) -> Space:
    """
    Return the space of the codes that a head was fitted on, of several stores that of the first.

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

"""Stage one as a scikit-learn transformer: images in, CNN codes out, each image computed once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from pipeline import images, store
from pipeline.common.choices import Engine, OnError, Pool, Precision, Resize, choose
from pipeline.common.errors import ChoiceError, SourceError, SpaceMismatch
from pipeline.common.space import check_probe
from pipeline.flows.cached_codes import KeptCodes, SharedStore, default_folder
from pipeline.flows.codes_config import CodesConfig


class CNNCodes(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """
    Turn images into the codes of a headless convnet.

    Codes are kept in a store and found again by the content of the image. A grid search over heads
    computes each image once, whatever the number of folds, candidates and processes; a process
    that needs codes which another is computing waits for them.

    Parameters
    ----------
    backbone : str, default "efficientnet-lite0"
        A row of the table of backbones.
    layer : str, optional
        Where to cut; by default the backbone's own choice.
    weights : str, default "imagenet"
        ``"imagenet"``, ``"random"`` or the path of a weights file.
    size : int, optional
        Edge of the square input in pixels; by default the backbone's.
    resize : Resize or str, default "crop"
        How an image becomes a square.
    pool : Pool or str, default "avg"
        How maps become vectors; layers without maps are vectors already. The store keeps the
        maps, so that another value costs no computing.
    store : str or Path, optional
        Where the codes are kept: a folder that is made if it is not there, or a store made by
        `extract` with the same settings, of which its codes are read and to which further images
        are added. A store holds one space: to search over backbones, layers or sizes leave it
        out. By default each combination of settings has a store of its own in
        ``~/.cache/bottleneck-pipeline/stores`` (``PIPELINE_CACHE`` names another place); it may
        be deleted at any time.
    batch_size : int, optional
        Images in one forward pass; by default the engine's own number.
    engine : Engine or str, default "auto"
        What computes: TensorFlow on a GPU, else OpenVINO where it is installed.
    precision : Precision or str, default "auto"
        bfloat16 where the processor computes in it, else float32.
    on_error : OnError or str, default "raise"
        What happens to images that cannot be used. ``"skip"`` warns and gives them rows of NaN,
        since a transformer must not leave rows out.

    Attributes
    ----------
    layer_ : str
        Where the backbone was cut.
    space_ : Space
        What the codes mean. `transform` refuses to give codes of another space, on whatever
        machine.
    probe_ : float32 array of shape (8, ...)
        Codes of the bundled probe images in float32, by which other weights, another decoder and a
        machine that computes otherwise are found out.
    store_ : str
        Where the codes were kept during `fit`.

    See Also
    --------
    extract : The same for sources with labels and splits, with progress and a report of what
        could not be used.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> import pipeline
    >>> model = make_pipeline(pipeline.CNNCodes(), LogisticRegression())
    >>> model.fit(paths, labels)  # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: str = "efficientnet-lite0",
        *,
        layer: str | None = None,
        weights: str = "imagenet",
        size: int | None = None,
        resize: Resize | str = "crop",
        pool: Pool | str = "avg",
        store: str | os.PathLike[str] | None = None,
        batch_size: int | None = None,
        engine: Engine | str = "auto",
        precision: Precision | str = "auto",
        on_error: OnError | str = "raise",
    ) -> None:
        self.backbone = backbone
        self.layer = layer
        self.weights = weights
        self.size = size
        self.resize = resize
        self.pool = pool
        self.store = store
        self.batch_size = batch_size
        self.engine = engine
        self.precision = precision
        self.on_error = on_error

    def fit(self, X: Any, y: Any = None) -> Self:
        """
        Settle which codes are computed; nothing is learned from the images.

        Parameters
        ----------
        X : array-like of shape (n,) or (n, 1), or uint8 array of shape (n, h, w) or (n, h, w, 3)
            Paths of images (str, bytes or path-like), or images.
        y : object, optional
            Not used.

        Returns
        -------
        CNNCodes
            Itself.

        Raises
        ------
        SourceError
            If these are neither paths nor images. Files are not read yet.
        ChoiceError, BackboneError
            If a setting is not to be had.
        SpaceMismatch
            If the store holds codes of another space.
        OutputError
            If the store cannot be written.
        """
        found = _source(X)
        self._kept = KeptCodes()
        shared = self._shared()
        opened = shared.open(found)
        self.layer_ = shared.layer
        self.space_ = opened.header.space.of_layer(shared.layer)
        self.probe_ = opened.probe(shared.layer)
        self.store_ = str(shared.folder)
        self._n_features_out = shared.width(opened, how=self._how())
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """
        Return the codes of images.

        Parameters
        ----------
        X : array-like of shape (n,) or (n, 1), or uint8 array of shape (n, h, w) or (n, h, w, 3)
            As for `fit`.

        Returns
        -------
        float32 array of shape (n, d)
            In the order of X; of the same image twice the same row twice.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        SourceError
            If these are neither paths nor images, or images cannot be used: the first are named.
        SpaceMismatch
            If the backbone, its weights or this machine's arithmetic is not that of `fit`.
        ResourceError
            If the disk is full.
        """
        check_is_fitted(self)
        found = _source(X)
        shared = self._shared()
        opened = shared.open(found)
        self._recognise(opened)
        skip = choose(OnError, self.on_error, what="on_error") is OnError.skip
        return shared.codes(found, opened, how=self._how(), skip=skip)

    def _shared(self) -> SharedStore:
        request = self._request()
        folder = Path(self.store) if self.store is not None else default_folder(request)
        return SharedStore(folder, request, self._kept)

    def _request(self) -> CodesConfig:
        if self.layer is not None and not isinstance(self.layer, str):
            raise ChoiceError(f"expected one layer by its name, found {self.layer!r}")
        return CodesConfig.parse(
            {
                "backbone": self.backbone,
                "weights": os.fspath(self.weights),
                "layers": self.layer or (),
                "size": self.size,
                "resize": self.resize,
                "batch_size": self.batch_size,
                "engine": self.engine,
                "precision": self.precision,
            }
        )

    def _how(self) -> Pool:
        return choose(Pool, self.pool, what="pool")

    def _recognise(self, opened: store.ByContent) -> None:
        """See that the store has, or will have, codes of the space of `fit`."""
        space = opened.header.space.of_layer(self.layer_)
        if differences := self.space_.differences(space):
            raise SpaceMismatch(
                f"expected codes of the space of fit, found another ({'; '.join(differences)}); "
                "restore the settings, or fit again"
            )
        check_probe(self.probe_, opened.probe(self.layer_), layer=self.layer_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = tags.input_tags.string = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []  # bytes come in, float32 goes out
        return tags


def _source(X: Any) -> images.Source:
    """Understand what a user of scikit-learn calls X."""
    array = _array(X)
    if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in "OUS":
        array = array[:, 0]  # one column of a data frame
    if array.ndim == 0 or (array.ndim != 1 and array.dtype.kind in "OUS"):
        raise SourceError(
            "expected a list of paths or a uint8 array of images, found "
            f"{type(X).__name__} of shape {array.shape}; give one column of paths"
        )
    if not len(array):
        raise SourceError("expected at least one image, found 0 sample(s); give paths or images")
    return images.listed(_paths(array)) if array.ndim == 1 else images.held(array)


def _array(X: Any) -> NDArray[Any]:
    """Make an array of what may be a list of paths, whose kinds NumPy would mix up."""
    if isinstance(X, list | tuple) and len(X) and isinstance(X[0], str | bytes | os.PathLike):
        array = np.empty(len(X), object)
        array[:] = X
        return array
    try:
        return np.asarray(X)
    except ValueError as error:
        raise SourceError(
            f"expected images of one shape, found several in {type(X).__name__} ({error}); "
            "give the paths of the files instead"
        ) from error


def _paths(array: NDArray[Any]) -> list[bytes]:
    paths = []
    for row, path in enumerate(array):
        if not isinstance(path, str | bytes | os.PathLike):
            raise SourceError(
                f"expected a path, found {path!r} ({type(path).__name__}) in row {row} of X; give "
                "paths, or a uint8 array of images"
            )
        paths.append(os.fsencode(path))
    return paths

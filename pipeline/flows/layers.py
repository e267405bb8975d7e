"""Which layers of a store a head takes: `--layer` and `--pool` as users type them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline import heads, store
from pipeline.common.choices import Pool, choose
from pipeline.common.errors import HeadError, counted


def open_stores(
    store_path: str | Path, joined_with: str | Path | Sequence[str | Path] = ()
) -> store.Store:
    """Open a store, joined with others of the same images where these are named."""
    others = [joined_with] if isinstance(joined_with, str | Path) else joined_with
    first = store.open_store(Path(store_path))
    if not others:
        return first
    return store.JoinedStore([first, *(store.open_store(Path(other)) for other in others)])


def left_out_of(opened: store.Store) -> list[str]:
    """Say how many images of a store are not in those that it is joined with."""
    if not opened.left_out:
        return []
    others = ", ".join(str(each.location) for each in opened.stores[1:])
    count = counted(opened.left_out, "image")
    return [f"note: {count} of {opened.location} without codes in {others}: left out"]


def choose_parts(
    opened: store.Store,
    layer: str | Sequence[str] | None,
    pool: Pool | str | None,
    *,
    default: Pool = Pool.avg,
) -> tuple[heads.Part, ...]:
    """
    Find the layers that a head is to take, and decide how their maps become vectors.

    Parameters
    ----------
    opened : Store
    layer : str, sequence of str, or None
        Each as ``LAYER``, or as ``LAYER:POOL`` for maps; by default the first of the store, of
        joined stores that of each.
    pool : Pool or str or None
        For layers of maps that do not name a pooling of their own.
    default : Pool, default Pool.avg
        Where `pool` is None, too.

    Returns
    -------
    tuple of Part
        In the order in which they were named; of joined stores those of the first come first.

    Raises
    ------
    StoreError
        If the store lacks a layer.
    HeadError
        If a layer is named twice, a way is given where there is nothing to pool, or a store is
        joined of which no layer is named.
    """
    several = [layer] if isinstance(layer, str) else list(layer or ())
    names = several or _first_of_each(opened)
    asked = None if pool is None else choose(Pool, pool, what="pool")
    found = [_split(opened, name) for name in names]
    if asked is not None and not any(_open(opened, *each) for each in found):
        raise HeadError(
            "expected a layer of maps that names no pooling, found "
            f"{', '.join(_said(*each) for each in found)}; drop --pool"
        )
    for place, (name, _) in enumerate(found):
        if name in [other for other, _ in found[:place]]:
            raise HeadError(
                f"expected layers that differ, found {name} twice; name each with --layer once"
            )
    parts = [part(opened, name, own or asked or default) for name, own in found]
    _check_every_store(opened, parts)
    return tuple(sorted(parts, key=lambda part: part.source))


def part(opened: store.Store, layer: str, pool: Pool) -> heads.Part:
    """Describe a layer of a store; vectors have no pooling."""
    shape = tuple(opened.layers[layer])
    pooling = pool.value if len(shape) > 1 else None
    return heads.Part(layer=layer, pool=pooling, shape=shape, source=opened.source_of(layer))


def named(parts: Sequence[heads.Part]) -> str:
    """Say which layers: one by its name, several with their pooling, joined by ``+``."""
    return parts[0].layer if len(parts) == 1 else "+".join(each.name for each in parts)


def pooled(parts: Sequence[heads.Part]) -> str | None:
    """Say how the maps of one layer become vectors; of several, their names say it."""
    return parts[0].pool if len(parts) == 1 else None


def _first_of_each(opened: store.Store) -> list[str]:
    """Return the layers that are taken where none is named: the first of each store."""
    firsts: dict[int, str] = {}
    for name in opened.layers:
        firsts.setdefault(opened.source_of(name), name)
    return list(firsts.values())


def _check_every_store(opened: store.Store, parts: Sequence[heads.Part]) -> None:
    """See that no store is joined for nothing."""
    taken = {each.source for each in parts}
    for number, (each, first) in enumerate(zip(opened.stores, _first_of_each(opened), strict=True)):
        if number not in taken:
            raise HeadError(
                f"expected a layer of every store, found none of {each.location}; add --layer "
                f"{first}, or leave the store out"
            )


def _split(opened: store.Store, text: str) -> tuple[str, Pool | None]:
    """
    Take a layer and its pooling apart.

    The colon may belong to the name: ``extract --layer NAME:avg`` keeps vectors under just that.
    """
    if text in opened.layers:
        return text, None
    name, colon, pooling = text.rpartition(":")
    if not colon or (name not in opened.layers and pooling != Pool.flat):
        return store.choose_layer(opened, text), None
    name = store.choose_layer(opened, name)  # extract knows no :flat, which no message must advise
    own = choose(Pool, pooling, what=f"the pooling of layer {name}")
    if len(opened.layers[name]) == 1:
        raise HeadError(
            f"expected a layer of maps for :{own.value}, found {name} with vectors; "
            f"type --layer {name}"
        )
    return name, own


def _open(opened: store.Store, layer: str, own: Pool | None) -> bool:
    """Whether it is for `--pool` to say how a layer is pooled."""
    return own is None and len(opened.layers[layer]) > 1


def _said(layer: str, own: Pool | None) -> str:
    return f"{layer} with vectors" if own is None else f"{layer}:{own.value}"

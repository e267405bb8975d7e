"""Limits on HDF5 files: what would run code, never end, or unpack to far more than it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py

# Ids that HDF5 itself defines (https://docs.hdfgroup.org, "Filters in HDF5"): all three are part
# of every build, so that reading a file never loads a plugin.
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_FILTERS = {_DEFLATE: "deflate", _SHUFFLE: "shuffle", _FLETCHER32: "fletcher32"}
# The most that deflate can shrink a run of equal bytes (zlib's technical notes: 1032 to 1).
DEFLATE_LIMIT = 1032
# Tools that make an HDF5 file hold up to this many objects; a model's weights have some thousand.
_MOST_OBJECTS = 10_000
_DEEPEST = 64
# A chunk is read whole and unpacked whole; h5py's manual asks for 10 KiB to 1 MiB.
_LARGEST_CHUNK = 256 << 20


class HostileFile(ValueError):
    """An HDF5 file reaches outside itself, needs a plugin, or claims more than it can hold."""


def inspect(file: h5py.File) -> None:
    """
    Refuse what a well-meant file never has; nothing is read but metadata.

    Raises
    ------
    HostileFile
        See `open_hdf5`.
    """
    import h5py

    seen = 0
    groups: list[tuple[h5py.Group, int]] = [(file, 0)]
    visited = set()
    while groups:
        group, depth = groups.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in visited:
            continue
        visited.add(address)
        if depth > _DEEPEST:
            raise HostileFile(f"groups lie in groups more than {_DEEPEST} deep")
        for name in group:
            seen += 1
            if seen > _MOST_OBJECTS:
                raise HostileFile(f"more than {_MOST_OBJECTS} objects")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise HostileFile(f"'{name}' is a {type(link).__name__}, not data of this file")
            member = group[name]
            if isinstance(member, h5py.Group):
                groups.append((member, depth + 1))
            elif isinstance(member, h5py.Dataset):
                _inspect_dataset(member)


def _inspect_dataset(dataset: h5py.Dataset) -> None:
    """Refuse storage outside the file, unknown filters and impossible shapes."""
    creation = dataset.id.get_create_plist()
    if creation.get_external_count():
        raise HostileFile(f"'{dataset.name}' keeps its numbers in another file")
    if dataset.is_virtual:
        raise HostileFile(f"'{dataset.name}' is a view into other files")
    filters = {creation.get_filter(i)[0] for i in range(creation.get_nfilters())}
    if unknown := filters - set(_FILTERS):
        known = ", ".join(_FILTERS.values())
        raise HostileFile(
            f"'{dataset.name}' needs HDF5 filter {min(unknown)}; accepted are {known}"
        )
    chunk = dataset.dtype.itemsize
    for edge in dataset.chunks or ():
        chunk *= edge
    if dataset.chunks and chunk > _LARGEST_CHUNK:
        raise HostileFile(
            f"'{dataset.name}' has chunks of {chunk} bytes; accepted are {_LARGEST_CHUNK} "
            "(`h5repack -l CHUNK=...` makes them smaller)"
        )
    claimed = dataset.size * dataset.dtype.itemsize if dataset.size else 0
    # A few bytes of slack: small datasets may live inside the metadata.
    held = dataset.id.get_storage_size() * (DEFLATE_LIMIT if _DEFLATE in filters else 1)
    if claimed > held + 65536 and creation.get_layout() != 0:
        raise HostileFile(f"'{dataset.name}' claims {claimed} bytes and holds {held}")

"""The raw files of a data set on disk: made (the sample) or found (the published benchmark)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.recbench.records import QUERY_FILES
from rerec_pipeline.storage.records import problem_of, read_record, replacing

#: Files that hold interactions, the preferred one first.
INTERACTION_FILES = ("interactions.parquet", "ratings.dat")

#: Items; the second name is for words that do not form their plural by an s.
ITEM_FILES = ("{domain}s.dat", "items.dat")

#: Item-attribute graphs; the second is the name in the authors' release.
GRAPH_FILES = ("item_attribute_graph.gexf", "{domain}_item_attribute_graph.gexf")

Manifest = dict[str, dict[str, str | int]]
"""file name -> path, bytes and sha256."""


def data_folder(raw_dir: str | Path, domain: str) -> Path:
    """The folder of a domain inside a raw folder, as published: ``dataset/<domain>``."""
    return Path(raw_dir) / "dataset" / domain


def write_raw_files(folder: Path, files: dict[str, str]) -> None:
    """Writes files that are missing or differ.

    Raises:
        BadInputError: If one would take the place of a file that this project did not make.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        data = content.encode("utf-8")
        target = folder / name
        as_it_is = target.is_file() and target.read_bytes() == data
        # A writer may have been killed before it could record that the file is complete.
        if as_it_is and (read_record(target) is None or not problem_of(target)):
            continue
        with replacing(target) as beside:
            beside.write_bytes(data)


def find_raw_files(folder: Path, domain: str) -> Manifest:
    """Lists the raw files of a domain and takes their fingerprints.

    Args:
        folder: ``.../dataset/<domain>``.
        domain: ``movie``, ``book`` or any other.

    Returns:
        The files found: items, ratings, attributes, users and queries, as far as they exist.

    Raises:
        BadInputError: If the folder, the interactions, every query file or, except for books, the
            items file is missing. The release has none for books: its ratings name them.
    """
    if not folder.is_dir():
        raise BadInputError(
            folder,
            "there is no such folder",
            remedy="Set raw_dir to the folder that holds dataset/<domain>",
        )
    # Interactions as Parquet are preferred: they are read many times faster, and may be complete
    # where the ratings are not.
    interactions = next((n for n in INTERACTION_FILES if (folder / n).is_file()), "ratings.dat")
    names = [name.format(domain=domain) for name in ITEM_FILES]
    items = next((name for name in names if (folder / name).is_file()), names[0])
    required = [interactions] if domain == "book" else [items, interactions]
    optional = [
        name for name in (items, "users.dat", "item_attributes.csv") if name not in required
    ]
    optional += [name.format(domain=domain) for name in GRAPH_FILES]
    missing = [name for name in required if not (folder / name).is_file()]
    if missing:
        raise BadInputError(
            folder / missing[0],
            "the file is missing",
            remedy=f"A {domain} data set needs {', '.join(required[:-1]) or 'no items file'}, "
            f"interactions ({' or '.join(INTERACTION_FILES)}) and at least one query file",
        )
    queries = [name for name in QUERY_FILES.values() if (folder / name).is_file()]
    if not queries:
        raise BadInputError(
            folder, f"there is no query file (any of {', '.join(QUERY_FILES.values())})"
        )
    present = required + [name for name in optional if (folder / name).is_file()] + queries
    return {name: _fingerprint(folder / name) for name in present}


def interactions_file(manifest: Manifest) -> Path:
    """The file of a manifest that holds the interactions."""
    name = next(name for name in INTERACTION_FILES if name in manifest)
    return Path(str(manifest[name]["path"]))


def items_file(manifest: Manifest, domain: str) -> str | None:
    """The name of the file of a manifest that holds the items, if there is one."""
    names = (name.format(domain=domain) for name in ITEM_FILES)
    return next((name for name in names if name in manifest), None)


def _fingerprint(path: Path) -> dict[str, str | int]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def manifest_hash(manifest: Manifest) -> str:
    """One hash of all raw files, whatever folder they lie in."""
    lines = sorted(f"{name} {entry['sha256']}" for name, entry in manifest.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()

"""Durable writes, manifests and verified opening of untrusted directories: the only writer of persistent files.

Every file appears under its name complete or not at all: it is written beside its place under a temporary name, synced,
renamed, and the folder synced. Folders of several files are made the same way, with a manifest written last.
`korformer.storage.tensors` (apart, because it imports torch) does the same for tensors.
"""

from korformer.storage.atomic import open_durable, sweep_orphans, write_bytes, write_json, write_text
from korformer.storage.directories import (
    check_writable,
    make_directory,
    remove_directory,
    require_free,
    staged_directory,
)
from korformer.storage.fresh import check_new, write_new
from korformer.storage.jsonlines import JsonLines
from korformer.storage.locks import is_locked, lock_directory
from korformer.storage.manifest import MANIFEST_NAME, verify_manifest, write_manifest
from korformer.storage.untrusted import open_inside, parse_json, read_inside, read_json
from korformer.storage.updates import update_directory

__all__ = [
    "MANIFEST_NAME",
    "JsonLines",
    "check_new",
    "check_writable",
    "is_locked",
    "lock_directory",
    "make_directory",
    "open_durable",
    "open_inside",
    "parse_json",
    "read_inside",
    "read_json",
    "remove_directory",
    "require_free",
    "staged_directory",
    "sweep_orphans",
    "update_directory",
    "verify_manifest",
    "write_bytes",
    "write_json",
    "write_manifest",
    "write_new",
    "write_text",
]

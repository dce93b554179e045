"""Files: their rows and keys. What is in them lies in a storage."""

from db.file.attachments import FilesRefused, attach_files, stake_of_case
from db.file.files import File, NewFile, file_stored, find_file, find_files, insert_file
from db.file.rows import FileRow
from db.file.sweep import drop_orphans, forget_dropped, known_names

__all__ = [
    "File",
    "FileRow",
    "FilesRefused",
    "NewFile",
    "attach_files",
    "drop_orphans",
    "file_stored",
    "find_file",
    "find_files",
    "forget_dropped",
    "insert_file",
    "known_names",
    "stake_of_case",
]

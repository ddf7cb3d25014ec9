"""Where exports are kept, as the settings want it: a folder, or a bucket."""

from pathlib import Path

from ..adapters.exports.files import ExportFiles
from ..application.ports.exports import ExportStore
from ..application.ports.security import Cipher
from .settings import PREFIX, Settings, SettingsError

_URL = f"{PREFIX}EXPORTS__URL"


def export_store(settings: Settings, cipher: Cipher) -> ExportStore:
    """Choose by the URL of exports; a bucket is asked when there is an export for it.

    Raises SettingsError.
    """
    if settings.exports.url is None:
        return ExportFiles(exports_folder(settings), cipher)
    try:
        from ..adapters.exports.objects import ExportObjects, open_bucket
    except ImportError:
        raise SettingsError([f"{_URL}: needs the extra gatepost[objectstore]"]) from None
    try:
        bucket = open_bucket(settings.exports.url, settings.exports.of_bucket)
    except ValueError as refused:
        raise SettingsError([f"{_URL}: {refused}"]) from None
    return ExportObjects(bucket, cipher)


def exports_folder(settings: Settings) -> Path:
    return settings.exports.dir or settings.data_dir / "exports"

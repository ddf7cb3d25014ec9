"""Master keys: from the settings, or made once for development."""

import base64
import os
import secrets
import tempfile
from pathlib import Path

from ..adapters.cipher import MasterKeys, MasterKeysInvalid
from .settings import PREFIX, Settings, SettingsError


def master_keys(settings: Settings) -> MasterKeys:
    """Read the configured keys, or those of the data folder, made on first start (0600).

    Raises SettingsError, naming the setting and never its value.
    """
    given = settings.secrets.keys
    if given is not None:
        text = given.get_secret_value()
    elif settings.is_production:
        # `load` refuses that, but not whoever makes settings another way.
        raise SettingsError([f"{PREFIX}SECRETS__KEYS: needed in production"])
    else:
        text = _development_keys(_development_file(settings))
    try:
        return MasterKeys.parse(text)
    except MasterKeysInvalid as refused:
        raise SettingsError([f"{PREFIX}SECRETS__KEYS: {refused}"]) from None


def present_master_keys(settings: Settings) -> MasterKeys | None:
    """Read the keys, or return None where the first start has yet to make them."""
    if settings.secrets.keys is None and not _development_file(settings).exists():
        return None
    return master_keys(settings)


def _development_file(settings: Settings) -> Path:
    return settings.data_dir / "master-keys"


def _development_keys(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _create_once(path, base64.b64encode(secrets.token_bytes(32)).decode())
    # What is no text is no key either, and `parse` says so without showing it.
    return path.read_text(encoding="ascii", errors="replace").strip()


def _create_once(path: Path, text: str) -> None:
    """Write a file whole or not at all; of several processes that start at once one wins."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".master-keys-")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        # A link fails where the name exists; a rename would replace the winner's keys.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)

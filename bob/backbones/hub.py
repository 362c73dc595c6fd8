"""The Hugging Face hub: its local cache, whether it can be reached, and downloads."""

from __future__ import annotations

import functools
import logging
import os
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from bob.backbones.backbone import Backbone
from bob.core.text import without_secrets

log = logging.getLogger(__name__)

FILES = ("model.safetensors", "pytorch_model.bin")
TRUE = ("1", "ON", "YES", "TRUE")
PROBE_TIMEOUT_S = 5.0
ATTEMPTS = 3
BACKOFF_S = 1.0
PLAIN_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")


class HubError(Exception):
    """Why the hub did not give a file; the text completes a sentence and holds no token and no password."""

    def __init__(self, text: str) -> None:
        super().__init__(without_secrets(text))


def endpoint() -> str:
    """Return the hub's address: ``HF_ENDPOINT`` or the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def cache_dir() -> Path:
    """Return the hub's cache folder by its own rules: HF_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub."""
    if own := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(own).expanduser()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("HF_HOME") or caches / "huggingface").expanduser() / "hub"


def cache_place(backbone: Backbone) -> str:
    """Return the folder or file in which ``cached`` looks."""
    if _is_url(backbone):
        return str(_url_file(backbone))
    repository, _ = _repository(backbone)
    return str(cache_dir() / f"models--{repository.replace('/', '--')}")


def cached(backbone: Backbone) -> Path | None:
    """Return the checkpoint in the hub's cache (or torch.hub's, for one that has only a URL); None if not there."""
    if _is_url(backbone):
        path = _url_file(backbone)
        return path if path.is_file() else None
    if not Path(cache_place(backbone)).is_dir():
        return None
    from huggingface_hub import try_to_load_from_cache

    repository, files = _repository(backbone)
    for file in files:
        found = try_to_load_from_cache(repository, file, cache_dir=cache_dir())
        if isinstance(found, str) and Path(found).is_file():
            return Path(found)
    return None


def unreachable() -> str | None:
    """Return why the hub cannot be reached, or None if it answers. Asked once per process and address."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in TRUE:
        return "the hub is not asked because HF_HUB_OFFLINE is set"
    return _probe(endpoint())


@functools.cache
def _probe(address: str) -> str | None:
    answer: list[str | None] = []
    thread = threading.Thread(target=lambda: answer.append(_ask(address)), name="hub-probe", daemon=True)
    thread.start()
    # A name server that does not answer ignores the socket's timeout, so the wait is bounded here.
    thread.join(PROBE_TIMEOUT_S + 1)
    reason = answer[0] if answer else f"no answer within {PROBE_TIMEOUT_S:.0f} s"
    return None if reason is None else without_secrets(f"the hub at {address} cannot be reached ({reason})")


def _ask(address: str) -> str | None:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PROBE_TIMEOUT_S):
            return None
    except urllib.error.HTTPError:
        return None  # it answers: what it has is another question
    except OSError as error:
        return str(getattr(error, "reason", error))
    except ValueError as error:
        return f"HF_ENDPOINT is no address: {error}"


def download(backbone: Backbone) -> Path:
    """Download a checkpoint into the hub's cache, trying again after transient failures.

    Raises:
        HubError: The hub does not have it, refuses it, or fails every time.
    """
    if _is_url(backbone):
        raise HubError(f"it is at {backbone.hub} and not on the hub; save it as '{_url_file(backbone)}'")
    repository, files = _repository(backbone)
    for file in files:
        if (path := _download_file(repository, file)) is not None:
            return path
    raise HubError(f"'{repository}' at {endpoint()} has none of {', '.join(files)}")


def _download_file(repository: str, file: str) -> Path | None:
    """Return the downloaded file; None if the repository has no such file."""
    from huggingface_hub import errors, hf_hub_download

    for attempt in range(1, ATTEMPTS + 1):
        try:
            _refuse_odd_answer(repository, file)
            return Path(hf_hub_download(repository, file, cache_dir=cache_dir(), endpoint=endpoint()))
        except errors.GatedRepoError as error:
            raise HubError(f"'{repository}' is gated: accept its terms, then log in to the hub") from error
        except errors.RepositoryNotFoundError as error:
            raise HubError(f"{endpoint()} has no repository '{repository}'") from error
        except errors.LocalEntryNotFoundError as error:
            _wait_or_give_up(error, attempt)
        except errors.EntryNotFoundError:
            return None
        except HubError:
            raise
        except Exception as error:
            if not _is_transient(error):
                raise HubError(f"{type(error).__name__}: {error}") from error
            _wait_or_give_up(error, attempt)
    raise AssertionError("the last attempt returns or raises")


def _refuse_odd_answer(repository: str, file: str) -> None:
    """Make sure that the hub names the file as hubs do: its cache puts it where the answer's ETag says.

    Raises:
        HubError: The name would leave the cache (a mirror that ``HF_ENDPOINT`` names may answer anything).
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    answer = get_hf_file_metadata(hf_hub_url(repository, file, endpoint=endpoint()))
    for said in (answer.etag, answer.commit_hash):
        if said is not None and not PLAIN_NAME.fullmatch(said):
            raise HubError(f"{endpoint()} calls a version of '{file}' {said!r}, which is no name for a file")


def _wait_or_give_up(error: Exception, attempt: int) -> None:
    reason = without_secrets(str(error.__cause__ or error).splitlines()[0])
    if attempt == ATTEMPTS:
        raise HubError(f"{ATTEMPTS} attempts failed, the last with {type(error).__name__}: {reason}") from error
    wait_s = BACKOFF_S * 2 ** (attempt - 1)
    log.warning("Attempt %d of %d failed (%s); the next follows in %.0f s.", attempt, ATTEMPTS, reason, wait_s)
    time.sleep(wait_s)


def _is_transient(error: Exception) -> bool:
    """Tell whether trying again may help: a broken connection, a short file, a busy or failing server."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return status == 429 or status >= 500
    # The hub's client moved from one HTTP library to another: its connection errors share names, not a class.
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"TransportError", "TimeoutException", "ConnectionError", "RequestException"}) or (
        isinstance(error, OSError) and "onsistency" in str(error)
    )


def _repository(backbone: Backbone) -> tuple[str, tuple[str, ...]]:
    repository, _, file = (backbone.hub or f"timm/{backbone.name}").partition(":")
    return repository, (file,) if file else FILES


def _is_url(backbone: Backbone) -> bool:
    return (backbone.hub or "").startswith(("http://", "https://"))


def _url_file(backbone: Backbone) -> Path:
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints" / (backbone.hub or "").rpartition("/")[2]

"""The study of a search: where it is kept, and what its trials share."""

import json
import warnings
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.pruners import MedianPruner
from optuna.samplers import BaseSampler
from optuna.storages import (
    BaseStorage,
    JournalStorage,
    RDBStorage,
    RetryHeartbeatStaleTrialCallback,
)
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import SQLAlchemyError

from schnetgeo.errors import InputError

HEARTBEAT = 60  # seconds between signs of life; a trial that misses two of them was killed


def open_study(
    out: Path, url: str | None, name: str, sampler: BaseSampler, about: dict[str, str]
) -> optuna.Study:
    """The study of that name, new or as earlier calls and other processes left it.

    Args:
        out: folder of the search, which has the database unless `url` names another.
        url: of a database, or a .journal file.
        name: of the study.
        sampler: what chooses the next values.
        about: what all its trials share.

    Raises:
        InputError: if the storage cannot be opened, or its study is about something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    with FileLock(out / "study.lock"):  # two processes must not both make the tables
        try:
            study = optuna.create_study(
                storage=_storage(url or f"sqlite:///{out / 'study.db'}"),
                study_name=name,
                sampler=sampler,
                pruner=MedianPruner(n_startup_trials=5, n_warmup_steps=2),
                direction="minimize",
                load_if_exists=True,
            )
        except (SQLAlchemyError, ImportError, OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"storage {url}: cannot be opened: {reason}") from None
        before = study.user_attrs.get("about")
        if before is None:
            study.set_user_attr("about", json.dumps(about))
        else:
            _check_same(json.loads(before), about, name)
    return study


def _storage(url: str) -> BaseStorage:
    if url.endswith(".journal"):
        return JournalStorage(JournalFileBackend(url))
    waits = {"connect_args": {"timeout": 120}} if url.startswith("sqlite") else {}
    return RDBStorage(
        url,
        engine_kwargs=waits,
        heartbeat_interval=HEARTBEAT,
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=1),
    )


def _check_same(before: dict[str, str], now: dict[str, str], name: str) -> None:
    for key in {**before, **now}:
        if before.get(key) != now.get(key):
            raise InputError(
                f"study {name!r} was begun with {key} = {before.get(key)}, not {now.get(key)}; go "
                "on with that, or give another --study or --out"
            )

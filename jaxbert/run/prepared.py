"""Notes with which settings a run prepared its text in WORKDIR/data, and what of it serves other settings.

What was prepared stays when a corpus is refused. So the next command needs no second preparation, which takes hours for
a large text, and settings that would prepare the text in another way never meet what they cannot use.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxbert.config import RunConfig
from jaxbert.data.shards import write_json
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import checked, parse
from jaxbert.stores.files import remove
from jaxbert.stores.workdir import PREPARED
from jaxbert.tasks import make_task
from jaxbert.text.tokenizers import Tokenizer

_log = logging.getLogger(__name__)

# The settings of `DataConfig` that decide rows, and not the vocabulary or the records. Rows of each policy have their
# own directory, and the order of shards is none of the preparation.
_OF_ROWS = ("short_rows", "copies")
_OF_NOTHING = ("policy", "shuffle_window")


def forget_other_settings(config: RunConfig, tokenizer: Tokenizer | None, out: Path) -> None:
    """Removes what was prepared below `out` with other settings than those of `config`, and says so; notes these.

    Args:
      config: the run, which has not trained yet.
      tokenizer: for the rows; for None the tokenizer of `DataConfig`.
      out: WORKDIR/data.

    Raises:
      InputError: the tokenizer that the config names cannot be used.
    """
    now = _settings(config, tokenizer)
    before = _noted(out)
    changed = {
        part: sorted(key for key in now[part] if now[part][key] != before.get(part, {}).get(key)) for part in now
    }
    if before and (changed["records"] or changed["rows"]):
        names = ", ".join(changed["records"] or changed["rows"])
        what = "the text is prepared again" if changed["records"] else "the rows are made again"
        _log.warning("the text was prepared with other settings (different: %s); %s", names, what)
        # The note goes last: after a kill, the next call forgets the rest.
        _remove(out.iterdir() if changed["records"] else out.glob("rows-*"))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / PREPARED, now)


def _settings(config: RunConfig, tokenizer: Tokenizer | None) -> dict[str, dict[str, Any]]:
    """Returns the settings that decide the vocabulary and the records, and those that decide the rows beside them."""
    data = dataclasses.asdict(config.data)
    rows = {name: data.pop(name) for name in _OF_ROWS} | {"seed": config.seed}
    for name in _OF_NOTHING:
        del data[name]
    given = tokenizer or (Tokenizer.load(config.data.tokenizer) if config.data.tokenizer else None)
    sentences = make_task(config, config.phases[0]).pairs
    data |= {"vocab_size": config.encoder.vocab_size, "sentences": sentences, "tokenizer": given and given.hash}
    found: dict[str, dict[str, Any]] = parse(json.dumps({"records": data, "rows": rows}))
    return found


def _noted(out: Path) -> dict[str, dict[str, Any]]:
    """Returns the settings noted below `out`; empty ones where there is no note, and others where it is damaged."""
    try:
        return dict(checked(read_bytes(out / PREPARED), {"records": dict, "rows": dict}))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return {"records": {}, "rows": {}}


def _remove(paths: Iterable[Path]) -> None:
    for path in sorted(paths, key=lambda path: path.name == PREPARED):
        remove(path)

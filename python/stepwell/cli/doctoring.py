"""The command `doctor`: what is wrong with a store, and a copy of what can be saved of it."""

from __future__ import annotations

from typing import Any

import click

from .asking import check_store, output_options, store_options
from .exits import DONE, FOUND_SOMETHING, USAGE, Failure
from .output import Output, several


def _doctor(
    store: str,
    namespace: str,
    wait: Any,
    repair_to: str | None,
    as_json: bool | None,
    fields: str | None,
    ids: bool,
) -> int:
    check_store(store)
    from stepwell import doctor as doctors

    from .logs import printed

    out = Output(as_json=as_json, fields=fields, ids=ids)
    if repair_to == "-":
        raise Failure(USAGE, "a store is no stream; give the path of a new file.")
    if repair_to is not None:
        told = doctors.repair(store, repair_to)
        saved = sum(told.saved.values())
        out.say(f"{several(saved, 'row')} {'was' if saved == 1 else 'were'} saved into {repair_to}")
        for lost in told.lost:
            out.say(f"lost: {lost}")
        return FOUND_SOMETHING if told.lost else DONE
    with printed(out.hold):
        found = doctors.examine(store, timeout=wait)
    out.rows(found, "nothing is wrong.")
    out.release()
    return FOUND_SOMETHING if found else DONE


doctor = click.Command(
    "doctor",
    callback=_doctor,
    help="Say what is wrong with the store and with what is in it, and what to do. With an engine "
    "it is asked; without one the file is read, and checked. Nothing is changed; --repair-to saves "
    "what can be read of a damaged store into a new file. Exits with 10 if something was found.",
    params=[
        click.Option(
            ["--repair-to"], metavar="NEW",
            help="Write what can be saved into this new file, and say what was lost.",
        ),
        *output_options(),
        *store_options(),
    ],
)  # fmt: skip

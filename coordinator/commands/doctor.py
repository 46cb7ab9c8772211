"""`coordinator doctor`: which schedulers are here, which versions, and does a job of a second come through each?

coordinator.commands imports this file for `doctor`. What is looked at and how is in coordinator.executors.checkup.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from coordinator.commands import CONTEXT, document, finite, json_option, print_json, print_tables


@click.command(context_settings=CONTEXT)
@click.argument("executors", metavar="[EXECUTOR]...", nargs=-1)
@click.option("--wait", type=float, default=60.0, callback=finite, metavar="SECONDS", show_default=True,
              help="So long a job may wait in a queue.")  # fmt: skip
@click.option("--look", is_flag=True, help="Only look which schedulers there are; submit nothing.")
@json_option
def doctor(executors: tuple[str, ...], wait: float, look: bool, as_json: bool) -> int:
    """Run a job of a second through each scheduler that is here, from the current directory; or through each EXECUTOR
    that is named, which may be a host (ssh:HOST), too.

    Exit status 0 if all that are here work, 1 if one does not, also if one that is named is not here.
    """
    from coordinator.executors.checkup import ABSENT, OK, check_all
    from coordinator.tables import Column, Table, cell

    findings = check_all(Path.cwd(), 0.0 if look else max(wait, 1.0), executors)
    well = (OK,) if executors else (OK, ABSENT)
    status = int(any(finding.verdict not in well for finding in findings))
    if as_json:
        print_json(document("doctor", executors=[asdict(finding) for finding in findings]))
        return status
    heads = tuple(map(Column, ("executor", "state", "version", "host", "seconds")))
    print_tables([Table(heads, [(f.name, f.verdict, f.version or None, f.host or None, f.seconds) for f in findings])])
    for finding in findings:
        if finding.words:
            print(f"{finding.name}: {cell(finding.words)}")
    return status

"""Where a job is: from what somebody typed to its files and its Coordinator.

The commands call it. JOB may be a name in this directory, a path dir/NAME, the name of a job that this user started
elsewhere, of one that a ResourceController knows, or a Coordinator's URL. It asks a ResourceController at most; it
never calls a job and never writes a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coordinator import paths
from coordinator.errors import BadName, ControllerLost, NoSuchJob, NoToken, StateError
from coordinator.remote import bare, controller, job_logins


@dataclass(frozen=True)
class Place:
    """A job that was found: its files, if they can be seen from here, and what is known of its Coordinator."""

    name: str
    files: paths.JobFiles | None = None
    run: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None
    fallback: str | paths.Login | None = None
    #: of the certificate that its Coordinator shows
    fingerprint: str | None = None

    @property
    def shown(self) -> str:
        """The job as it is typed again in a command from here."""
        if self.files is None:
            return self.name
        directory = self.files.directory
        return self.name if directory == os.getcwd() else os.path.join(directory, self.name)


def find(job: str, rc_url: str | None = None) -> Place:
    """The job that was meant. With `rc_url` that ResourceController is asked first, else only if no file is found."""
    if "://" in job:
        return Place(bare(job), url=job)
    if os.sep in job:
        directory, name = os.path.split(job.rstrip(os.sep))
        return _required(paths.JobFiles(directory or os.sep, name))
    paths.check_name(job)
    if rc_url is not None:
        return _of_controller(job, rc_url) or _known_by_files(job) or _nowhere(job, rc_url)
    try:
        return _known_by_files(job) or _of_controller(job, None) or _nowhere(job, None)
    except ControllerLost:
        return _nowhere(job, None)


def _known_by_files(name: str) -> Place | None:
    here = paths.JobFiles(os.getcwd(), name)
    return at(here) or _noted(name)


def _noted(name: str) -> Place | None:
    files = paths.find_run(name)
    return at(files) if files is not None else None


def at(files: paths.JobFiles) -> Place | None:
    """The job of these files, or None if there is neither a run file nor a journal."""
    run = read_run(files.run)
    if run is None and not os.path.exists(files.journal):
        return None
    known = run or {}
    return Place(files.name, files, known, known.get("url"), known.get("token"), known.get("fingerprint"))


def here(directory: Path | None = None) -> list[Place]:
    """Every job whose files are in that directory (the current one if not given), by name."""
    folder = directory or Path.cwd()
    names = {entry.stem for entry in folder.iterdir() if entry.suffix in (".run", ".journal")}
    found = []
    for name in sorted(names):
        try:
            place = at(paths.JobFiles(folder, name))
        except (BadName, StateError):
            continue
        if place is not None:
            found.append(place)
    return found


def again(place: Place) -> Place:
    """The same job as its files have it now: it may have been restarted, or have ended."""
    fresh = at(place.files) if place.files is not None else None
    return fresh or place


def _required(files: paths.JobFiles) -> Place:
    place = at(files)
    if place is None:
        raise NoSuchJob(
            f"There is no job {files.name!r} in {files.directory}: neither {files.name}.run nor {files.name}.journal "
            f"is there."
        )
    return place


def _nowhere(name: str, rc_url: str | None) -> Place:
    asked = f"the ResourceController at {bare(rc_url)}" if rc_url else "the ResourceController of this machine"
    raise NoSuchJob(
        f"No job {name!r} is known: {os.path.join(os.getcwd(), name)}.journal does not exist, you have not started one "
        f"of that name elsewhere, and {asked} has none. Give its path (dir/{name}) or --rc_url."
    )


def _of_controller(name: str, rc_url: str | None) -> Place | None:
    """The job as a ResourceController knows it; its files too, if they can be seen from here."""
    try:
        remote = controller(rc_url)
    except NoToken:
        if rc_url is not None:
            raise
        return None
    found = [job for job in remote.call("get_farm")["jobs"] if job["name"] == name]
    if len(found) > 1:
        each = ", ".join(f"{job['url']} ({job['directory']})" for job in found)
        raise NoSuchJob(f"{len(found)} jobs are called {name!r}. Give the URL of one instead of the name: {each}.")
    return of_farm(found[0], job_logins(remote).get(str(found[0]["url"]))) if found else None


def of_farm(job: Mapping[str, Any], login: paths.Login | None) -> Place:
    """The place of a job that a ResourceController listed."""
    name, url = str(job["name"]), str(job["url"])
    try:
        place = at(paths.JobFiles(str(job["directory"]), name)) if job.get("directory") else None
    except (OSError, BadName, StateError):
        place = None
    if place is not None and place.run.get("run") == job.get("run"):
        return place
    return Place(name, url=url, fallback=login)


def read_run(path: str) -> dict[str, Any] | None:
    """What a run file says; None if there is none. Somebody else's file is refused: its URL would get our words."""
    try:
        fd = paths.open_private(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        try:
            run = json.load(file)
        except ValueError as problem:
            raise StateError(f"{path} cannot be read as JSON; remove it if no job of that name runs.") from problem
    return run if isinstance(run, dict) else None

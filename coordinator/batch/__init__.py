"""Batches of jobs, without a server: PARASCHUT's calls. ``from coordinator import batch as psu``.

``preparing`` makes jobs and puts them into the store, ``submission`` submits them, ``deleting`` ends and removes them,
``monitoring`` shows them, ``runtime`` and ``spawning`` are what a job calls while it runs, ``joblogs`` shows what they
printed, ``executors`` are what they run on, ``config`` is what is set. The core under all of them is
:mod:`coordinator.jobs`.
"""

from coordinator.batch.config import config
from coordinator.batch.deleting import (
    clean_temp_files,
    clean_temp_folders,
    qdel_batch,
    qdel_job,
    remove_batch,
    remove_batch_by_state,
)
from coordinator.batch.executors import (
    FileJobExecutor,
    JobExecutor,
    LocalJobExecutor,
    LSFJobExecutor,
    PBSJobExecutor,
    SGEJobExecutor,
    SlurmJobExecutor,
    SSHJobExecutor,
    TorqueJobExecutor,
)
from coordinator.batch.joblogs import get_log_paths, print_log
from coordinator.batch.monitoring import get_queue, get_sql_queue
from coordinator.batch.preparing import (
    add_batch_to_queue,
    add_job_to_queue,
    generate_data,
    generate_script,
    get_id,
    get_job_template,
)
from coordinator.batch.runtime import (
    boost_batch_priority,
    get_job_info,
    get_qstat,
    set_batch_field,
    set_complete,
    set_job_field,
    update_job,
)
from coordinator.batch.spawning import spawn_complete, spawn_get_info, spawn_resubmit, spawn_submit
from coordinator.batch.submission import periodic_submitter, submit_jobs, submit_one_batch, submit_one_job

__all__ = [
    "FileJobExecutor",
    "JobExecutor",
    "LSFJobExecutor",
    "LocalJobExecutor",
    "PBSJobExecutor",
    "SGEJobExecutor",
    "SSHJobExecutor",
    "SlurmJobExecutor",
    "TorqueJobExecutor",
    "add_batch_to_queue",
    "add_job_to_queue",
    "boost_batch_priority",
    "clean_temp_files",
    "clean_temp_folders",
    "config",
    "generate_data",
    "generate_script",
    "get_id",
    "get_job_info",
    "get_job_template",
    "get_log_paths",
    "get_qstat",
    "get_queue",
    "get_sql_queue",
    "periodic_submitter",
    "print_log",
    "qdel_batch",
    "qdel_job",
    "remove_batch",
    "remove_batch_by_state",
    "set_batch_field",
    "set_complete",
    "set_job_field",
    "spawn_complete",
    "spawn_get_info",
    "spawn_resubmit",
    "spawn_submit",
    "submit_jobs",
    "submit_one_batch",
    "submit_one_job",
    "update_job",
]

"""The graph of many cell types: seconds to build, tasks, what a task's message holds; and the memory of a worker at two sizes.

The graph is that of 20 cell types of a human-size genome at 10 kb, with the published network; their tracks hold nothing, for
none is read. Memory is that of one worker process after predicting with a small network: one cell type of 118 Mb, and two of
236 Mb (a task has up to 113 Mb). Wanted: built in seconds, below 10,000 tasks, the same memory. Usage::

    python pipelines/benchmarks/prediction_graph.py [--cell-types 20] [--size human]
"""

import argparse
import pickle
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from _store import in_a_process, make_inputs

MOST_TASKS = 10_000
#: Cell types and Mb of the two measurements of memory.
SIZES = ((1, 118), (2, 236))


def build(store: Path, checkpoint: Path, n_cell_types: int) -> dict[str, float]:
    """Seconds to the first task and what the graph holds."""
    from epizarr.predict import predict_contacts, run

    begin, found = time.perf_counter(), {}

    def kept(function: Any, tasks: Any, *, shared: Any, **_: Any) -> None:
        found["seconds"] = time.perf_counter() - begin
        found["tasks"] = len(tasks)
        found["message"] = max(len(pickle.dumps(task)) for task in tasks)
        found["job"] = max(len(pickle.dumps(job)) for job in {id(job): job for job in shared}.values())

    run.run_tasks = kept
    predict_contacts(store, checkpoint, cell_type=[f"T{i + 1}" for i in range(n_cell_types)])
    return found


def worker_peak(store: Path, checkpoint: Path, n_cell_types: int) -> float:
    """Peak memory in MB of the worker that predicted."""
    import logging

    from epizarr.cluster import open_client
    from epizarr.predict import predict_contacts

    logging.getLogger("distributed").setLevel(logging.ERROR)
    with open_client("local:1") as client:
        predict_contacts(store, checkpoint, cell_type=[f"T{i + 1}" for i in range(n_cell_types)], client=client)
        (peak,) = client.run(lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024).values()
    return float(peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell-types", type=int, default=20)
    parser.add_argument("--size", default="human", help="small, human, or a number of Mb")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store, checkpoint = make_inputs(Path(name), options.size, n_cell_types=options.cell_types, has_values=False)
        found = in_a_process(build, store, checkpoint, options.cell_types)
        print(
            f"{options.cell_types} cell types, {options.size}: {found['tasks']} tasks (wanted: below {MOST_TASKS:,}) after "
            f"{found['seconds']:.1f} s; {found['message']} bytes a task, {found['job'] / 1000:.1f} kB a run"
        )
    for n_cell_types, megabases in SIZES:
        with tempfile.TemporaryDirectory() as name:
            store, checkpoint = make_inputs(Path(name), str(megabases), n_cell_types=n_cell_types, is_full_size=False)
            peak = in_a_process(worker_peak, store, checkpoint, n_cell_types)
            print(f"worker, {n_cell_types} cell types of {megabases} Mb: {peak:.0f} MB at most")


if __name__ == "__main__":
    main()

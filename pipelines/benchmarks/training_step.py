"""A training step of the full-size 10 kb network, per example: a batch over the shared trunk, against the released way.

Run ``python pipelines/benchmarks/training_step.py`` in a clone; it takes about 7 GB of memory. The released way is batch 1 with
unrolled windows. Both run forward, loss, backward and Adam on the same network, in turns. Promised on
a CPU: 8 times as fast at batch 4, 12 times at batch 8, and at batch 8 less memory. Peak memory is that of a process that
takes one step in one way.
"""

import argparse
import multiprocessing
import resource
from collections.abc import Callable

import torch
from _network import interleaved_seconds, load_unrolled, matrix_product, report
from torch import Tensor

from epizarr.nn import Epiphany, NetworkConfig, masked_mse, network_gflop

N_BINS = 200


def make_step(batch: int, device: str, precision: str, *, is_unrolled: bool) -> Callable[[], None]:
    """One step of a network of its own on random data of a batch."""
    torch.manual_seed(0)
    config = NetworkConfig.published_10kb()
    model = Epiphany(config).train().to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=5e-4, fused=True)
    signal = torch.rand(batch, config.n_tracks, config.cut_length(N_BINS), device=device)
    target = torch.rand(batch, N_BINS, config.n_offsets, device=device)
    valid = torch.rand(target.shape, device=device) < 0.9
    unrolled = load_unrolled().unrolled

    def predict() -> Tensor:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16"):
            return (unrolled(model, signal, N_BINS) if is_unrolled else model(signal)).float()

    def step() -> None:
        optimiser.zero_grad()
        masked_mse(predict(), target, valid).backward()
        optimiser.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return step


def _peak(queue: multiprocessing.Queue, batch: int, threads: int, is_unrolled: bool) -> None:
    torch.set_num_threads(threads)
    make_step(batch, "cpu", "float32", is_unrolled=is_unrolled)()
    queue.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def peak_memory(batch: int, threads: int, *, is_unrolled: bool) -> float:
    """GiB that a process takes at most for one step on the CPU."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_peak, args=(queue, batch, threads, is_unrolled))
    process.start()
    found: float = queue.get()
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is timed")
    parser.add_argument("--batch", type=int, default=8, help="examples of a step over the shared trunk")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--precision", default="float32", choices=("float32", "bfloat16"), help="of the shared trunk's way"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device, batch = arguments.device, arguments.batch
    peaks = []
    if device == "cpu":  # first: a process that is started later inherits this one's peak
        peaks = [peak_memory(n, arguments.threads, is_unrolled=way) for n, way in ((1, True), (batch, False))]
    steps = {
        "shared": make_step(batch, device, arguments.precision, is_unrolled=False),
        "unrolled": make_step(1, device, "float32", is_unrolled=True),
    }
    product, gflop = matrix_product()
    seconds = interleaved_seconds(steps | ({"product": product} if device == "cpu" else {}), arguments.rounds)
    shared = [second / batch for second in seconds["shared"]]
    name = "CPU" if device == "cpu" else torch.cuda.get_device_name()
    print(
        f"10 kb network, training step per example of {N_BINS} bins, {arguments.precision}, {name}, "
        f"{torch.get_num_threads()} threads"
    )
    report("unrolled windows, batch 1, float32", seconds["unrolled"])
    report(f"shared trunk, batch {batch}", shared)
    promised = {4: 8, 8: 12}.get(batch)
    print(f"ratio {min(seconds['unrolled']) / min(shared):.1f}" + (f" (promised: {promised})" if promised else ""))
    if device == "cpu":
        rate = gflop / min(seconds["product"])
        # Backward takes twice the products of forward: with respect to the inputs, and to the weights.
        floor = 3 * network_gflop(NetworkConfig.published_10kb(), N_BINS).total / rate
        print(
            f"matrix products run at {rate:.0f} GFLOP/s; at that rate a step's products take {floor:.2f} s an example"
        )
        print(f"peak memory of a process: unrolled {peaks[0]:.2f} GiB, shared {peaks[1]:.2f} GiB")
    else:
        print(f"peak memory of both together: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()

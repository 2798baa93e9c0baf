"""A training step of the full-size 10 kb network, per example: batch 4 over the shared trunk, against the released way.

Run ``python pipelines/benchmarks/training_step.py`` in a clone; it takes about 7 GB of memory. The released way is
batch 1 with unrolled windows. Both run forward, loss, backward and Adam on the same network, in turns. Promised: 8
times as fast.
"""

import argparse
from collections.abc import Callable

import torch
from _network import interleaved_seconds, load_unrolled, report
from torch import Tensor

from epizarr.nn import Epiphany, NetworkConfig, masked_mse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is timed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    n_bins, batch = 200, 4
    config = NetworkConfig.published_10kb()
    model = Epiphany(config).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=5e-4, fused=True)
    signal = torch.rand(batch, config.n_tracks, config.cut_length(n_bins))
    target = torch.rand(batch, n_bins, config.n_offsets)
    valid = torch.rand(target.shape) < 0.9
    unrolled = load_unrolled().unrolled

    def step(predict: Callable[[Tensor], Tensor], n_examples: int) -> None:
        optimiser.zero_grad()
        masked_mse(predict(signal[:n_examples]), target[:n_examples], valid[:n_examples]).backward()
        optimiser.step()

    seconds = interleaved_seconds(
        {
            "shared": lambda: step(lambda examples: model(examples), batch),
            "unrolled": lambda: step(lambda examples: unrolled(model, examples, n_bins), 1),
        },
        arguments.rounds,
    )
    shared = [second / batch for second in seconds["shared"]]
    print(f"10 kb network, training step per example of {n_bins} bins, float32, {torch.get_num_threads()} threads")
    report("unrolled windows, batch 1", seconds["unrolled"])
    report(f"shared trunk, batch {batch}", shared)
    print(f"ratio {min(seconds['unrolled']) / min(shared):.1f} (promised: 8)")


if __name__ == "__main__":
    main()

"""A bidirectional LSTM of the published sizes without gradients: ours against torch's two kernels, by number of tiles.

torch asks oneDNN for its inference kernel where gradients are disabled and for its training kernel where they are enabled. As in
a prediction, threads run side by side, each with one thread of torch. All ways and a large product are timed in turns. Usage::

    python pipelines/benchmarks/lstm.py [--hidden 1200] [--tiles 14 20 32 48] [--threads 2]
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from _network import interleaved_seconds
from torch import nn

from epizarr.nn.lstm import run_lstm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=1200, help="hidden size of a direction; 2400 at 5 kb")
    parser.add_argument("--tiles", type=int, nargs="+", default=[14, 20, 32, 48], help="examples of a batch")
    parser.add_argument("--bins", type=int, default=100, help="bins of a tile")
    parser.add_argument("--threads", type=int, default=2, help="threads side by side")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is timed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer = nn.LSTM(2 * options.hidden, options.hidden, batch_first=True, bidirectional=True)
    square = torch.randn(2048, 2048)
    gflop_of_product = 4 * 2e-9 * 2048**3

    with ThreadPoolExecutor(options.threads) as pool, torch.no_grad():

        def side_by_side(way: Callable[[], object]) -> Callable[[], object]:
            return lambda: [done.result() for done in [pool.submit(way) for _ in range(options.threads)]]

        print(f"hidden {options.hidden}, {options.bins} bins, {options.threads} threads; GFLOP/s of the fastest round")
        for n_tiles in options.tiles:
            states = torch.randn(n_tiles, options.bins, 2 * options.hidden)
            difference = (run_lstm(layer, states) - layer(states)[0]).abs().max().item()

            def ours(states: torch.Tensor = states) -> None:
                with torch.inference_mode():
                    run_lstm(layer, states)

            def theirs(enabled: bool, states: torch.Tensor = states) -> None:
                with torch.inference_mode(), torch.set_grad_enabled(enabled):
                    layer(states)

            seconds = interleaved_seconds(
                {
                    "product": side_by_side(lambda: [torch.mm(square, square) for _ in range(4)]),
                    "ours": side_by_side(ours),
                    "inference kernel": side_by_side(lambda theirs=theirs: theirs(False)),
                    "training kernel": side_by_side(lambda theirs=theirs: theirs(True)),
                },
                options.rounds,
            )
            gflop = 2e-9 * states[..., 0].numel() * 2 * 4 * options.hidden * 3 * options.hidden
            rates = {
                name: options.threads * (gflop_of_product if name == "product" else gflop) / min(times)
                for name, times in seconds.items()
            }
            told = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
            print(f"{n_tiles} tiles: {told}; largest difference {difference:.1e}")


if __name__ == "__main__":
    main()

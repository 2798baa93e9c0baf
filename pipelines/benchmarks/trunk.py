"""The trunk of the 10 kb network on one 3.4 Mb example: once for all windows, against every window on its own.

Run ``python pipelines/benchmarks/trunk.py`` in a clone. Both ways are timed in turns in one process. Promised: 40
times as fast, with the same numbers up to 1e-6 in float32.
"""

import argparse

import torch
from _network import interleaved_seconds, load_unrolled, report

from epizarr.nn import Epiphany, NetworkConfig, network_gflop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is timed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    n_bins, n_repeats = 200, 10
    config = NetworkConfig.published_10kb()
    model = Epiphany(config).eval()
    signal = torch.rand(1, config.n_tracks, config.cut_length(n_bins))
    unrolled = load_unrolled().unrolled_features

    with torch.inference_mode():
        difference = (model.features(signal) - unrolled(model, signal, n_bins)).abs().max().item()
        seconds = interleaved_seconds(
            {
                "shared": lambda: [model.features(signal) for _ in range(n_repeats)],
                "unrolled": lambda: unrolled(model, signal, n_bins),
            },
            arguments.rounds,
        )
    shared = [second / n_repeats for second in seconds["shared"]]
    work = network_gflop(config, n_bins)
    print(f"10 kb trunk, {n_bins} bins, batch 1, float32, {torch.get_num_threads()} threads")
    report(f"every window on its own, {work.unrolled_trunk:.1f} GFLOP", seconds["unrolled"])
    report(f"once for all windows, {work.trunk:.1f} GFLOP", shared)
    print(f"ratio {min(seconds['unrolled']) / min(shared):.1f} (promised: 40)")
    print(f"largest difference {difference:.1e} (promised: at most 1e-06)")


if __name__ == "__main__":
    main()

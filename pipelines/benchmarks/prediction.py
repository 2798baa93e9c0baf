"""Prediction with the full-size 10 kb network, per output bin: shared trunk and batched tiles, against the released way.

Run ``python pipelines/benchmarks/prediction.py`` in a clone. The released way is one example of 200 bins at a time
with unrolled windows. All ways and a large matrix product are timed in turns. Promised, before tiles overlap: 8
times as fast, and at most 1.5 times the time that the network's operations take at the rate of the matrix product.
With overlap the ratio is printed without a promise.
"""

import argparse

import torch
from _network import interleaved_seconds, load_unrolled, matrix_product, report

from epizarr.nn import Epiphany, NetworkConfig, network_gflop, predict_stripes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is timed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--tiles", type=int, default=64, help="tiles predicted, all in one batch")
    parser.add_argument("--overlap", type=int, default=40, help="bins shared by two tiles, for the way with overlap")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    tile_bins, trunk_bins = 200, 1000
    n_bins = arguments.tiles * tile_bins
    config = NetworkConfig.published_10kb()
    model = Epiphany(config).eval()
    signal = torch.rand(config.n_tracks, config.input_length(n_bins))
    unrolled = load_unrolled().unrolled
    multiply, multiply_gflop = matrix_product()

    def predict(overlap_bins: int) -> torch.Tensor:
        return predict_stripes(
            model,
            signal,
            first_bin=0,
            n_chrom_bins=n_bins,
            lo=0,
            hi=n_bins,
            tile_bins=tile_bins,
            overlap_bins=overlap_bins,
            batch_size=arguments.tiles,
            trunk_bins=trunk_bins,
        )

    def predict_unrolled() -> torch.Tensor:
        with torch.inference_mode():
            return unrolled(model, signal[None], tile_bins)

    difference = (predict(0)[:tile_bins] - predict_unrolled()[0]).abs().max().item()
    seconds = interleaved_seconds(
        {
            "multiply": lambda: [multiply() for _ in range(4)],
            "tiles": lambda: predict(0),
            "overlapped": lambda: predict(arguments.overlap),
            "unrolled": predict_unrolled,
        },
        arguments.rounds,
    )
    per_bin = {name: min(times) / n_bins for name, times in seconds.items()}
    per_bin["unrolled"] *= arguments.tiles
    rate = 4 * multiply_gflop / min(seconds["multiply"])
    pieces = [min(trunk_bins, n_bins - piece) for piece in range(0, n_bins, trunk_bins)]
    core = network_gflop(config, tile_bins, batch=arguments.tiles)
    gflop = core.core + core.head + sum(network_gflop(config, piece).trunk for piece in pieces)

    print(
        f"10 kb network, float32, {torch.get_num_threads()} threads; {n_bins} bins in {arguments.tiles} tiles of {tile_bins}"
    )
    report("4 products of 4096 x 4096", seconds["multiply"])
    report(f"unrolled windows, batch 1, {tile_bins} bins", seconds["unrolled"])
    report(f"shared trunk, tiles, {n_bins} bins", seconds["tiles"])
    report(f"the same, tiles overlapped by {arguments.overlap}", seconds["overlapped"])
    print(f"largest difference between the two, without overlap {difference:.1e}")
    print(f"ratio per bin before overlap {per_bin['unrolled'] / per_bin['tiles']:.1f} (promised: 8)")
    print(f"ratio per bin with overlap {per_bin['unrolled'] / per_bin['overlapped']:.1f}")
    ideal = gflop / rate
    print(
        f"network {gflop:.0f} GFLOP at {rate:.0f} GFLOP/s takes {ideal:.3f} s; measured {min(seconds['tiles']):.3f} s"
    )
    print(f"ratio to the matrix product's rate {min(seconds['tiles']) / ideal:.2f} (promised: at most 1.5)")


if __name__ == "__main__":
    main()

"""The peers of compare.sh: exact searches of the same rows by FAISS, usearch and NumPy.

`make` writes rows and queries (random unit vectors; one row in a thousand lies near a query, at cosines of .1 to .9). `run` prints one JSON
object: for each peer and number of queries the milliseconds of wall and processor time (a thread), median and least of all rounds, which run in
turn; and who really scores at least the threshold, in 64-bit arithmetic.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np

TOP_K = 10
MOST_QUERIES = 64


def normalised(vectors):
    return (vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)).astype(np.float32)


def make(args):
    random = np.random.default_rng(5)
    directory = pathlib.Path(args.directory)
    queries = normalised(random.standard_normal((MOST_QUERIES, args.dim), dtype=np.float32))
    queries.tofile(directory / "probes.f32")
    with open(directory / "rows.f32", "wb") as file:
        for first in range(0, args.templates, 50_000):
            count = min(50_000, args.templates - first)
            rows = normalised(random.standard_normal((count, args.dim), dtype=np.float32))
            near = np.arange(-first % 1_000, count, 1_000)
            share = random.uniform(0.1, 0.9, (len(near), 1)).astype(np.float32)
            of = queries[random.integers(0, MOST_QUERIES, len(near))]
            rows[near] = share * of + np.sqrt(1 - share * share) * rows[near]
            normalised(rows).tofile(file)


def spread(values):
    return {"median": round(float(np.median(values)), 4), "least": round(float(np.min(values)), 4)}


def peers(rows, args):
    """Name of each peer, how it searches, and with what precision it stores a value."""
    import faiss
    from usearch.index import MetricKind, search

    faiss.omp_set_num_threads(args.threads)
    flat = faiss.IndexFlatIP(args.dim)
    flat.add(rows)
    codes = faiss.IndexScalarQuantizer(args.dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    codes.train(rows[: 100_000])
    codes.add(rows)
    bytes_ = np.rint(rows * 127 / np.abs(rows).max()).astype(np.int8)
    blas_from = faiss.cvar.distance_compute_blas_threshold

    def faiss_flat(queries):
        faiss.cvar.distance_compute_blas_threshold = blas_from
        return flat.search(queries, TOP_K)[1]

    def faiss_blas(queries):
        faiss.cvar.distance_compute_blas_threshold = 1
        return flat.search(queries, TOP_K)[1]

    def numpy_fp32(queries):
        scores = queries @ rows.T
        return np.argpartition(scores, -TOP_K, axis=1)[:, -TOP_K:]

    def usearch_i8(queries):
        asked = np.rint(queries * 127 / np.abs(queries).max()).astype(np.int8)
        return search(bytes_, asked, TOP_K, MetricKind.IP, exact=True, threads=args.threads).keys

    return {
        "faiss IndexFlatIP": (faiss_flat, "fp32"),
        "faiss IndexFlatIP, BLAS": (faiss_blas, "fp32"),
        "numpy sgemm, argpartition": (numpy_fp32, "fp32"),
        "faiss SQ8": (lambda queries: codes.search(queries, TOP_K)[1], "int8"),
        "usearch exact": (usearch_i8, "int8"),
    }


def run(args):
    import faiss
    import usearch

    directory = pathlib.Path(args.directory)
    rows = np.fromfile(directory / "rows.f32", dtype=np.float32).reshape(-1, args.dim)
    queries = np.fromfile(directory / "probes.f32", dtype=np.float32).reshape(-1, args.dim)
    numbers = [int(number) for number in args.queries.split(",")]
    cases = [(name, how, kind, number) for name, (how, kind) in peers(rows, args).items() for number in numbers]
    times = {(name, number): ([], []) for name, _, _, number in cases}
    # The slow ones of many queries are repeated less often.
    for round_ in range(args.rounds):
        for name, how, _, number in cases:
            if round_ >= 5 and number > 8:
                continue
            asked = np.ascontiguousarray(queries[:number])
            wall, cpu = time.perf_counter(), time.process_time()
            how(asked)
            times[name, number][1].append((time.process_time() - cpu) * 1e3 / args.threads)
            times[name, number][0].append((time.perf_counter() - wall) * 1e3)
        print(f"peers: round {round_ + 1} of {args.rounds}", file=sys.stderr)
    measured = [
        {"peer": name, "values": kind, "queries": number, "wall_ms": spread(times[name, number][0]), "cpu_ms_per_thread": spread(times[name, number][1])}
        for name, _, kind, number in cases
    ]
    above = []
    for query in queries[: max(numbers)].astype(np.float64):
        scores = np.concatenate([rows[first : first + 50_000].astype(np.float64) @ query for first in range(0, len(rows), 50_000)])
        # Within rounding of the threshold either answer is right.
        above.append([int(i) for i in np.nonzero(scores >= args.threshold + 1e-6)[0]])
    versions = {"faiss": faiss.__version__, "usearch": usearch.__version__, "numpy": np.__version__}
    json.dump({"versions": versions, "peers": measured, "above": above}, sys.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["make", "run"])
    parser.add_argument("--templates", type=int, required=True)
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--directory", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--queries", default="1,8,32")
    parser.add_argument("--threshold", type=float, default=0.4)
    arguments = parser.parse_args()
    make(arguments) if arguments.what == "make" else run(arguments)

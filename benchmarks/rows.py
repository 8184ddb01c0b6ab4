"""The rows of the table, as data: what runs, against what, and the figure to reach."""

from commands import OUT, Command
from contests import Contest, Peak, Row
from figures import FASTER, MORE, PEAK, RATIO, Goal
from work import BF16, F16, GZIP, HDF5, MANY, ONE, SMALL, SPARSE, W, Work

AXES = (0, 1)

# A start takes milliseconds, which many rounds tell better.
STARTS = 4


def project(work: Work, axis: int, *options: str, match: str = "*") -> Command:
    """Projects a file with the entry point of this environment."""
    rule = ("-m", match, "-c", "max_norm=2", "-a", str(axis))
    return ("wproj", "project", work, "-o", OUT, *rule, *options)


def unsynced(work: Work, axis: int, *options: str, match: str = "*") -> tuple[Command, ...]:
    """Projects a file and leaves it to the system when it is written to the disk, as cp does."""
    return (project(work, axis, "--no-sync", *options, match=match),)


def audit(work: Work, axis: int) -> tuple[Command, ...]:
    """Measures a file."""
    return (("wproj", "audit", work, "-a", str(axis)),)


def copied(work: Work) -> tuple[Command, ...]:
    """Copies a file."""
    return (("cp", work, OUT),)


def opponent(script: str, *words: str | Work) -> tuple[Command, ...]:
    """Runs a script of the opponents."""
    return (("python", f"opponents/{script}.py", *words),)


def against_copy(name: str, says: str, limit: float, work: Work, axis: int) -> Contest:
    """A projection that is held against a copy of the same file."""
    says = f"{says}, axis {axis}, `--no-sync`, against `cp`"
    return Contest(f"{name}-{axis}", says, Goal(RATIO, limit), unsynced(work, axis), copied(work))


STANDARD: list[Row] = [
    row
    for axis in AXES
    for row in (
        against_copy("copy", "W", 1.3, W, axis),
        Contest(
            f"synced-{axis}",
            f"W, axis {axis}, with fsync (the default), against `cp` followed by `sync FILE`",
            Goal(RATIO, 1.1),
            (project(W, axis),),
            (*copied(W), ("sync", OUT)),
        ),
        Contest(
            f"numpy-{axis}",
            f"W, axis {axis}, `--no-sync`, against load_file + NumPy formula + save_file",
            Goal(FASTER, 5),
            unsynced(W, axis),
            opponent("numpy_max_norm", W, OUT, str(axis)),
        ),
        Contest(
            f"keras-{axis}",
            f"W, axis {axis}, `--no-sync`, against Keras on torch: load, `MaxNorm`, save",
            Goal(FASTER, 6),
            unsynced(W, axis),
            opponent("keras_max_norm", W, OUT, str(axis)),
            needs=("keras", "torch"),
        ),
        Contest(
            f"exact-{axis}",
            f"W, axis {axis}, `--no-sync`, `exact` against `keras` numerics",
            Goal(RATIO, 1.25),
            unsynced(W, axis, "--numerics", "exact"),
            unsynced(W, axis, "--numerics", "keras"),
        ),
        Contest(
            f"threads-{axis}",
            f"W, axis {axis}, `--no-sync`, 2 threads against 1",
            Goal(FASTER),
            unsynced(W, axis, "--threads", "2"),
            unsynced(W, axis, "--threads", "1"),
        ),
        Contest(
            f"audit-cat-{axis}",
            f"`audit` of W, axis {axis}, against `cat W > /dev/null`",
            Goal(RATIO, 3),
            audit(W, axis),
            (("cat", W),),
        ),
        Contest(
            f"audit-numpy-{axis}",
            f"`audit` of W, axis {axis}, against load_file + `np.linalg.norm` per tensor",
            Goal(FASTER, 5),
            audit(W, axis),
            opponent("numpy_norms", W, str(axis)),
        ),
    )
]

VARIANTS: list[Row] = [
    Contest(
        "one-matched",
        "W, 1 of 32 tensors matched, `--no-sync`, against `cp`",
        Goal(RATIO, 1.1),
        unsynced(W, 0, match="layers.7.weight"),
        copied(W),
    ),
    against_copy("many", "4096 tensors of 512 KiB", 1.3, MANY, 0),
    *(against_copy("bf16", "W in bf16", 2.5, BF16, axis) for axis in AXES),
    *(against_copy("f16", "W in f16", 5, F16, axis) for axis in AXES),
    Contest(
        "hdf5",
        "W as contiguous HDF5, `--no-sync`, against safetensors",
        Goal(RATIO, 1.1),
        unsynced(HDF5, 0),
        unsynced(W, 0),
    ),
    Contest(
        "gzip",
        "W as HDF5 with gzip 1 and shuffle, `--no-sync`, against h5py: read, scale, rewrite",
        Goal(RATIO, 1.1),
        unsynced(GZIP, 0),
        opponent("h5py_max_norm", GZIP, OUT, "0"),
    ),
]

PROCESSES: list[Row] = [
    Contest(
        f"processes-{name}",
        f"{says}, axis 0, `--no-sync`, 2 threads against 2 processes with half of the tensors each",
        Goal(FASTER),
        unsynced(work, 0, "--threads", "2"),
        opponent("two_processes", work.half(), OUT, "0"),
    )
    for name, says, work in (("w", "W", W), ("many", "4096 tensors of 512 KiB", MANY))
]

MEMORY: list[Row] = [
    Peak(f"memory-{name}", f"Peak memory on {says}", Goal(PEAK, 256), project(work, 0))
    for name, says, work in (
        ("w", "W", W),
        ("sparse", "a sparse file of 16 GiB", SPARSE),
        ("one", "one tensor of 8 GiB (sparse)", ONE),
    )
]

STARTING: list[Row] = [
    Contest(
        name,
        f"{says} against `python -c pass`",
        Goal(MORE, limit),
        (words,),
        (("python", "-c", "pass"),),
        times=STARTS,
    )
    for name, says, limit, words in (
        ("version", "`wproj --version`", 20, ("wproj", "--version")),
        ("help", "`wproj --help`", 90, ("wproj", "--help")),
        ("ls", "`wproj ls` of a small file", 250, ("wproj", "ls", SMALL)),
    )
]

ROWS: list[Row] = [*STARTING, *STANDARD, *VARIANTS, *PROCESSES, *MEMORY]

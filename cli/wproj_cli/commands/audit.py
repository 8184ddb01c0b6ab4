"""`wproj audit`."""

from __future__ import annotations

from functools import partial

import wproj
from wproj_cli.options import (
    Axis,
    Config,
    Custom,
    Declared,
    Exclude,
    Files,
    Format,
    Layout,
    Match,
    Memory,
    NoHdf5,
    Reports,
    Threads,
    expand,
    opened,
    parse_custom,
    parse_resources,
)
from wproj_cli.output import Outcome


def audit(
    files: Files,
    match: Match = None,
    exclude: Exclude = None,
    axis: Axis = None,
    layout: Layout = None,
    declared: Declared = False,
    custom: Custom = None,
    config: Config = None,
    no_hdf5: NoHdf5 = False,
    fmt: Format = "text",
    report: Reports = None,
    threads: Threads = None,
    memory: Memory = "256MB",
) -> int:
    """Measure the norms of weight vectors, as stored; nothing is written.

    Without an axis each tensor has one norm. Euclidean norms, accumulated in float64. With
    --declared, those tensors for which a Keras model declares a constraint, held against it.

    \b
    Examples:
      wproj audit sample_weights/digits_cnn.h5
      wproj audit sample_weights/digits_cnn.h5 -m 'conv*/kernel' -a 0,1,2
      wproj audit sample_weights/digits_mlp_pt.safetensors -a in -f json
      wproj audit sample_weights/digits_cnn.keras --declared
    """  # noqa: D301 # \b is the character that keeps the lines apart
    outcome = Outcome("audit", fmt, report, [*files, config])
    resources = parse_resources(threads, memory)
    for file in expand(files):
        try:
            if declared:
                if match or axis or layout:
                    raise wproj.RequestError("--declared excludes -m, -a and --layout")
                classes = parse_custom(custom)
                checkpoint = opened(file, config, no_hdf5=no_hdf5)
                plan = wproj.plan_declared(checkpoint, custom=classes, exclude=exclude or ())
            else:
                axes = wproj.parse_axes("all" if axis is None else axis)
                checkpoint = opened(file, config, no_hdf5=no_hdf5)
                plan = wproj.audit_plan(checkpoint, match or (), exclude or (), axes, layout)
            outcome.opened(plan.checkpoint)
            size = sum(item.entry.nbytes for item in plan.assignments)
            job = partial(wproj.measure, plan, resources)
            tensors = wproj.TensorReports(outcome.follow(job, size))
            outcome.add(wproj.file_report(plan.checkpoint, plan.layout, None, tensors))
        except wproj.WprojError as error:
            outcome.failed(error, file)
    return outcome.finish()

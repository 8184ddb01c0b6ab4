"""`wproj audit`."""

import wproj
from wproj_cli.options import Axis, Exclude, Files, Format, Layout, Match, Reports, expand
from wproj_cli.output import Outcome


def audit(
    files: Files,
    match: Match = None,
    exclude: Exclude = None,
    axis: Axis = None,
    layout: Layout = None,
    fmt: Format = "text",
    report: Reports = None,
) -> int:
    """Measure the norms of weight vectors, as stored; nothing is judged or written.

    Without an axis each tensor has one norm. Euclidean norms, accumulated in float64.

    \b
    Examples:
      wproj audit sample_weights/digits_cnn.h5
      wproj audit sample_weights/digits_cnn.h5 -m 'conv*/kernel' -a 0,1,2
      wproj audit sample_weights/digits_mlp_pt.safetensors -a in -f json
    """  # noqa: D301 # \b is the character that keeps the lines apart
    outcome = Outcome("audit", fmt, report)
    for file in expand(files):
        try:
            axes = wproj.parse_axes(axis or "all")
            plan = wproj.audit_plan(file, match or (), exclude or (), axes, layout)
            outcome.opened(plan.checkpoint)
            tensors = list(wproj.measure(plan))
            outcome.add(wproj.file_report(plan.checkpoint, plan.layout, None, tensors))
        except wproj.WprojError as error:
            outcome.failed(error, file)
    return outcome.finish()

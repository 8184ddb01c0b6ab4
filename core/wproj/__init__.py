"""Project the weights of saved neural networks onto constraint sets.

>>> import numpy as np
>>> import wproj
>>> wproj.MaxNorm(max_value=5, axis=0)(np.array([[6.0], [8.0]], dtype=np.float32))
array([[3.],
       [4.]], dtype=float32)

Names are imported when they are first used, so that importing the package costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wproj import constraints as constraints
    from wproj.auditing import audit as audit
    from wproj.auditing import audit_plan as audit_plan
    from wproj.auditing import measure as measure
    from wproj.baselines import Baseline as Baseline
    from wproj.baselines import apply_baseline as apply_baseline
    from wproj.baselines import encode_baseline as encode_baseline
    from wproj.baselines import load_baseline as load_baseline
    from wproj.baselines import record_baseline as record_baseline
    from wproj.checking import check as check
    from wproj.constraints.base import Constraint as Constraint
    from wproj.constraints.base import ElementwiseConstraint as ElementwiseConstraint
    from wproj.constraints.base import Numerics as Numerics
    from wproj.constraints.base import RadialConstraint as RadialConstraint
    from wproj.constraints.keras import MaxNorm as MaxNorm
    from wproj.constraints.keras import MinMaxNorm as MinMaxNorm
    from wproj.constraints.keras import NonNeg as NonNeg
    from wproj.constraints.keras import UnitNorm as UnitNorm
    from wproj.constraints.registry import load_constraint as load_constraint
    from wproj.diffing import diff as diff
    from wproj.dtypes import short_name as short_name
    from wproj.engine import Progress as Progress
    from wproj.engine import ignore as ignore
    from wproj.errors import InputError as InputError
    from wproj.errors import OutputError as OutputError
    from wproj.errors import RequestError as RequestError
    from wproj.errors import WprojError as WprojError
    from wproj.errors import plural as plural
    from wproj.errors import printable as printable
    from wproj.errors import shape_text as shape_text
    from wproj.errors import storable as storable
    from wproj.explaining import explain as explain
    from wproj.explaining import explain_plan as explain_plan
    from wproj.explaining import rule_reports as rule_reports
    from wproj.formats.base import Checkpoint as Checkpoint
    from wproj.formats.base import Layout as Layout
    from wproj.formats.base import TensorEntry as TensorEntry
    from wproj.formats.opening import open_checkpoint as open_checkpoint
    from wproj.measures import Histogram as Histogram
    from wproj.measures import NormSummary as NormSummary
    from wproj.packed_reports import TensorReports as TensorReports
    from wproj.projecting import apply as apply
    from wproj.projecting import plan as plan
    from wproj.projecting import plan_declared as plan_declared
    from wproj.projecting import project as project
    from wproj.report import Diagnostic as Diagnostic
    from wproj.report import FileReport as FileReport
    from wproj.report import Report as Report
    from wproj.report import RuleReport as RuleReport
    from wproj.report import TensorReport as TensorReport
    from wproj.reporting import file_report as file_report
    from wproj.reporting import listed_report as listed_report
    from wproj.reporting import make_report as make_report
    from wproj.resources import Resources as Resources
    from wproj.schemas import json_schema as json_schema
    from wproj.selection.assigning import Assignment as Assignment
    from wproj.selection.assigning import Skipped as Skipped
    from wproj.selection.axes import axes_text as axes_text
    from wproj.selection.axes import parse_axes as parse_axes
    from wproj.selection.declared import declared_text as declared_text
    from wproj.selection.draft_recipe import draft_recipe as draft_recipe
    from wproj.selection.globs import select_any as select_any
    from wproj.selection.plan import Plan as Plan
    from wproj.selection.recipe import Recipe as Recipe
    from wproj.selection.recipe import find_recipe as find_recipe
    from wproj.selection.recipe import load_recipe as load_recipe
    from wproj.selection.recipe import parse_recipe as parse_recipe
    from wproj.selection.recipe_tables import CheckPolicy as CheckPolicy
    from wproj.selection.rules import Rule as Rule
    from wproj.selection.rules import parse_constraint as parse_constraint
    from wproj.selection.rules import parse_rule as parse_rule
    from wproj.selection.rules import steps_text as steps_text
    from wproj.ties import find_ties as find_ties
    from wproj.writing import volume as volume

__version__ = "0.1.0"

_HOMES = {
    "Assignment": "selection.assigning",
    "Baseline": "baselines",
    "CheckPolicy": "selection.recipe_tables",
    "Checkpoint": "formats.base",
    "Constraint": "constraints.base",
    "Diagnostic": "report",
    "ElementwiseConstraint": "constraints.base",
    "FileReport": "report",
    "Histogram": "measures",
    "InputError": "errors",
    "Layout": "formats.base",
    "MaxNorm": "constraints.keras",
    "MinMaxNorm": "constraints.keras",
    "NonNeg": "constraints.keras",
    "NormSummary": "measures",
    "Numerics": "constraints.base",
    "OutputError": "errors",
    "Plan": "selection.plan",
    "Progress": "engine",
    "RadialConstraint": "constraints.base",
    "Recipe": "selection.recipe",
    "Report": "report",
    "Resources": "resources",
    "RequestError": "errors",
    "Rule": "selection.rules",
    "RuleReport": "report",
    "Skipped": "selection.assigning",
    "TensorEntry": "formats.base",
    "TensorReport": "report",
    "TensorReports": "packed_reports",
    "UnitNorm": "constraints.keras",
    "WprojError": "errors",
    "apply": "projecting",
    "apply_baseline": "baselines",
    "audit": "auditing",
    "audit_plan": "auditing",
    "axes_text": "selection.axes",
    "check": "checking",
    "declared_text": "selection.declared",
    "diff": "diffing",
    "draft_recipe": "selection.draft_recipe",
    "encode_baseline": "baselines",
    "explain": "explaining",
    "explain_plan": "explaining",
    "file_report": "reporting",
    "find_recipe": "selection.recipe",
    "find_ties": "ties",
    "ignore": "engine",
    "json_schema": "schemas",
    "listed_report": "reporting",
    "load_baseline": "baselines",
    "load_constraint": "constraints.registry",
    "load_recipe": "selection.recipe",
    "make_report": "reporting",
    "measure": "auditing",
    "open_checkpoint": "formats.opening",
    "parse_axes": "selection.axes",
    "parse_constraint": "selection.rules",
    "parse_recipe": "selection.recipe",
    "parse_rule": "selection.rules",
    "plan": "projecting",
    "plan_declared": "projecting",
    "plural": "errors",
    "printable": "errors",
    "project": "projecting",
    "record_baseline": "baselines",
    "rule_reports": "explaining",
    "select_any": "selection.globs",
    "shape_text": "errors",
    "short_name": "dtypes",
    "steps_text": "selection.rules",
    "storable": "errors",
    "volume": "writing",
}

__all__ = ["__version__", "constraints", *_HOMES]  # noqa: PLE0604 # the keys are names


def __getattr__(name: str) -> Any:  # noqa: ANN401 # any public object
    if name == "constraints":
        return importlib.import_module("wproj.constraints")
    if name not in _HOMES:
        raise AttributeError(f"module 'wproj' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"wproj.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

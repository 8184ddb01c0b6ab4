"""The Python in the documents runs."""

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(document, language):
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text("utf-8"), re.M | re.S)


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    """A folder with the sample weights, and the files that the documents name."""
    shutil.copytree(ROOT / "sample_weights", tmp_path / "sample_weights")
    shutil.copy(ROOT / "sample_weights/digits_mlp_pt.safetensors", tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_python_blocks_of_a_document_run_in_order(document):
    """Every example in a document works as it stands, after those above it."""
    names = {}
    for block in blocks(document, "python"):
        exec(compile(block, document.name, "exec"), names)  # noqa: S102 # our own documents


def test_the_values_in_the_library_page_are_what_comes_out():
    """A comment behind an expression of docs/library.md shows its value."""
    import numpy as np

    import wproj

    w = np.array([[6.0, 0.3], [8.0, 0.4]], dtype=np.float32)
    c = wproj.MaxNorm(5, axis=0)

    np.testing.assert_array_equal(c(w), np.array([[3, 0.3], [4, 0.4]], np.float32))
    assert c.contains(w).tolist() == [False, True]
    assert (c.project(w, numerics="keras")[:, 1] != w[:, 1]).any()


def test_links_between_documents_lead_somewhere():
    """Every relative link in a document names a file."""
    for document in [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "sample_weights/README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_no_document_names_a_folder_of_a_machine():
    """The repository speaks of the project alone."""
    for document in DOCUMENTS:
        assert not re.search(r"/(home|root|Users)/", document.read_text("utf-8"))

"""The filters of HDF5 datasets: those that are not there, and those that change values.

Numbers and names: "Registered Filter Plugins" of The HDF Group. Which of them are in the package
hdf5plugin: its documentation, version 6.
"""

from collections.abc import Iterator

import h5py

_SCALE_OFFSET = 6
_NAMES = {
    1: "deflate",
    2: "shuffle",
    3: "fletcher32",
    4: "szip",
    5: "nbit",
    _SCALE_OFFSET: "scale-offset",
    305: "LZO",
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32018: "FCIDECOMP",
    32019: "JPEG",
    32022: "Granular BitRound",
    32023: "BitGroom",
    32024: "SZ3",
    32026: "Blosc2",
    32028: "SPERR",
}
_IN_HDF5PLUGIN = {307, 32001, 32004, 32008, 32013, 32015, 32017, 32018, 32024, 32026, 32028}
# What they give back is not what they were given; Blosc2 and ZFP can be told to be exact, which
# their parameters would have to be trusted for.
_LOSSY = {_SCALE_OFFSET, 32013, 32017, 32018, 32019, 32022, 32023, 32024, 32028}


def lossy_filter(plist: h5py.h5p.PropDCID) -> str | None:
    """Why values cannot be written through the filters of a dataset."""
    for code, name in _filters(plist):
        if code in _LOSSY:
            return f"the {name} filter would change what is stored"
    return None


def missing_filter(plist: h5py.h5p.PropDCID) -> tuple[str, str] | None:
    """The filter that HDF5 does not have here, and where it is to be had."""
    for code, name in _filters(plist):
        if h5py.h5z.filter_avail(code):
            continue
        where = "find a plugin for it and name its folder in HDF5_PLUGIN_PATH"
        if code in _IN_HDF5PLUGIN:
            where = (
                "install hdf5plugin, and set HDF5_PLUGIN_PATH to what "
                "'python -c \"import hdf5plugin; print(hdf5plugin.PLUGIN_PATH)\"' prints"
            )
        return f"needs the HDF5 filter {name} ({code}), which is not installed", where
    return None


def _filters(plist: h5py.h5p.PropDCID) -> Iterator[tuple[int, str]]:
    """The numbers and names of the filters; of unknown ones the name that the file has."""
    for index in range(plist.get_nfilters()):
        code, _, _, name = plist.get_filter(index)
        yield code, _NAMES.get(code) or name.decode("utf-8", "replace")[:64] or "without a name"

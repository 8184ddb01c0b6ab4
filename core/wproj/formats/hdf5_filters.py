"""The filters of HDF5 datasets: those that are not there, and those that change values.

Numbers and names: "Registered Filter Plugins" of The HDF Group. Which of them hdf5plugin has: its
documentation.
"""

from collections.abc import Iterator

import h5py

_EXACT = {
    1: "deflate",
    2: "shuffle",
    3: "fletcher32",
    4: "szip",
    5: "n-bit",  # of floats that are IEEE's, which are the only ones that are projected
    305: "LZO",
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "bitshuffle",
    32015: "Zstandard",
}
# What they give back may not be what they were given. Some of them can be told to be exact; their
# parameters would have to be trusted for that.
_LOSSY = {
    6: "scale-offset",
    32013: "ZFP",
    32017: "SZ",
    32018: "FCIDECOMP",
    32019: "JPEG",
    32022: "Granular BitRound",
    32023: "BitGroom",
    32024: "SZ3",
    32026: "Blosc2",
    32028: "SPERR",
}
_IN_HDF5PLUGIN = {307, 32001, 32004, 32008, 32015}


def inexact_filter(plist: h5py.h5p.PropDCID) -> str | None:
    """Why values do not come out of the filters of a dataset as they went in.

    HDF5 shows that only when the file has been opened again.
    """
    for code in _filters(plist):
        if code in _LOSSY:
            return f"the {_LOSSY[code]} filter would change what is stored"
        if code not in _EXACT:
            return f"filter {code}, which wproj does not know, may change what is stored"
    return None


def missing_filter(plist: h5py.h5p.PropDCID) -> tuple[str, str] | None:
    """What to say of a filter that HDF5 does not have here, and where it is to be had."""
    for code in _filters(plist):
        if h5py.h5z.filter_avail(code):
            continue
        where = "name the folder of a plugin that has it in HDF5_PLUGIN_PATH"
        if code in _IN_HDF5PLUGIN:
            where = (
                "install hdf5plugin, and set HDF5_PLUGIN_PATH to what "
                "'python -c \"import hdf5plugin; print(hdf5plugin.PLUGIN_PATH)\"' prints"
            )
        return f"needs the HDF5 filter {_EXACT.get(code, '?')} ({code}), which is missing", where
    return None


def _filters(plist: h5py.h5p.PropDCID) -> Iterator[int]:
    """The numbers of the filters, in the order of writing."""
    return (plist.get_filter(index)[0] for index in range(plist.get_nfilters()))

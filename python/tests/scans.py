"""Scans for the tests."""

import struct

SFORM = (0.0, 0.0, 2.0, 1.0, -0.5, 0.0, 0.0, 2.0, 0.0, 0.75, 0.0, 3.0)


def nifti(voxels, sform=SFORM, rescale=(2, 1)):
    """A NIfTI-1 file of an array [z, y, x], or [channel, z, y, x], in millimetres: its numbers stand for twice themselves and 1, or as
    `rescale` has slope and intercept, where a slope of 0 says that they stand for themselves."""
    extents = voxels.shape[::-1]
    code = {"u1": 2, "i2": 4, "f4": 16}[voxels.dtype.str[1:]]
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(extents), *extents, *[1] * (7 - len(extents)))
    struct.pack_into("<2h", header, 70, code, 8 * voxels.itemsize)
    struct.pack_into("<8f", header, 76, 1, 0.5, 0.75, 2, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, *rescale)
    header[123] = 2
    struct.pack_into("<2h", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *sform)
    header[344:348] = b"n+1\0"
    return bytes(header) + voxels.tobytes()

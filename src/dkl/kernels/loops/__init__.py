"""The loops that :mod:`dkl.kernels.build` compiles, one file for each.

``float32`` and ``float64`` hold what differs between the two precisions under the same names. The other files are
written against ``float32``; compiled for float64, their text is the same and the names come from ``float64``. A loop
calls ``measure``, which is made from the trace of a divergence.
"""

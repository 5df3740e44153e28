"""The fused loops behind exact measurement: one pass, on all cores, made from each divergence's own terms.

``trace`` writes a divergence's definition down as straight-line code, ``loops`` holds what surrounds it, ``build``
compiles the two together, ``strides`` reads any array as a run of memory, ``threads`` shares the work out, and ``sums``
runs it. Nothing here is imported before an array is large enough to pay for it.
"""

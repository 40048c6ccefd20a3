"""The benchmark suite: what `fastft bench` runs.

A row times our way of doing a piece of work beside its peers and beside a limit that no way can
pass. It lies in the package so that it runs from a wheel; peers are imported when their row runs.
"""
